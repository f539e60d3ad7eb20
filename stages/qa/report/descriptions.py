"""What a model folder says about itself, small enough to keep beside the results."""

from pathlib import Path
from typing import Any

from stages.qa.errors import IntegrityError
from stages.qa.files import read_json
from stages.qa.models.manifest import MANIFEST


def describe_model(folder: Path) -> dict[str, Any]:
    """Source and files of the folder's manifest, and the model_type of its configuration."""
    manifest = read_json(folder / MANIFEST)
    if not {"source", "files"} <= manifest.keys():
        raise IntegrityError(f"{folder / MANIFEST}: not a manifest; remove {folder} and run the stage that writes it")
    kind = read_json(folder / "config.json").get("model_type", "")
    return {"source": manifest["source"], "files": manifest["files"], "model_type": kind}

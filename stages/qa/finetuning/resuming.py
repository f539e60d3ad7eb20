"""Where an interrupted training is kept, and which of its checkpoints it goes on from."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from stages.qa import processes
from stages.qa.config import Finetuning
from stages.qa.data.windows import Windows
from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import verify_snapshot

logger = logging.getLogger(__name__)


def fingerprint(manifest: dict[str, Any], windows: Windows, settings: Finetuning) -> str:
    """A name for all that a checkpoint depends on: base weights, training windows, settings, processes."""
    settled = manifest["files"], settings.model_dump(), processes.count(), processes.sharded()
    digest = hashlib.sha256(json.dumps(settled, sort_keys=True).encode())
    for array in (windows.input_ids, windows.token_type_ids, windows.starts, windows.targets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that agrees with its seal; those that were cut off or damaged are removed."""
    for path in sorted(work.glob("checkpoint-*"), key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        try:
            verify_snapshot(path)
        except IntegrityError as error:
            logger.info("not used, and removed: %s", error)
            shutil.rmtree(path)
        else:
            return path
    return None

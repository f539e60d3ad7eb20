"""Where an interrupted training is kept, who works on it, and which of its checkpoints it goes on from."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from stages.qa import processes
from stages.qa.data.windows import Windows
from stages.qa.errors import BusyError, IntegrityError
from stages.qa.models.manifest import verify_snapshot
from stages.qa.sections import Finetuning

logger = logging.getLogger(__name__)


def fingerprint(manifest: dict[str, Any], windows: Windows, settings: Finetuning) -> str:
    """A name for all that a checkpoint depends on: base weights, training windows, settings, number of processes."""
    values = manifest["files"], settings.model_dump(), processes.count()
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for array in (windows.input_ids, windows.token_type_ids, windows.starts, windows.targets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@contextmanager
def only_training(work: Path) -> Iterator[None]:
    """Hold the lock of the training whose checkpoints are in `work`, and remove these once the block has done its work.

    The system releases the lock if the process dies. BusyError names the process that holds it. The first of several
    processes holds it for all.
    """
    if processes.rank() > 0:
        yield
        return
    work.mkdir(parents=True, exist_ok=True)
    file = work.with_name(f".{work.name}.lock")
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        owner = file.read_text().strip() or "just started"
        raise BusyError(f"{work}: process {owner} runs this training; wait for it, or stop it (kill {owner})") from None
    try:
        file.write_text(str(os.getpid()))
        yield
        shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):  # it holds checkpoints
            work.rmdir()
        file.unlink(missing_ok=True)  # while it is locked: filelock ignores a file that has lost its name
        lock.release()


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that agrees with its seal. Those that were cut off or damaged are removed."""
    checkpoints = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    for checkpoint in reversed(checkpoints):
        try:
            verify_snapshot(checkpoint)
            return checkpoint
        except IntegrityError as error:
            logger.info("not used, and removed: %s", error)
            shutil.rmtree(checkpoint)
    return None

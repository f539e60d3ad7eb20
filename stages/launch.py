"""Run a stage as several processes if the environment variable LAUNCHER says so, else as one.

LAUNCHER="accelerate launch --multi_gpu --num_processes 8" dvc repro

DVC does not know the variable: no result depends on it, so none becomes outdated by it.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path


def main(stage: str, arguments: list[str]) -> None:
    """Become `stage`, a module, under the launcher; its command is looked up beside this Python first."""
    launcher, *options = shlex.split(os.environ.get("LAUNCHER", "")) or [sys.executable]
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(launcher, path=here)
    if program is None:
        sys.exit(f"error: LAUNCHER={launcher}: no such command")
    os.execv(program, [program, *options, "-m", stage, *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

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
    words = shlex.split(os.environ.get("LAUNCHER", ""))
    command = [sys.executable, "-m", stage, *arguments]
    if words:
        here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        program = shutil.which(words[0], path=here)
        if program is None:
            sys.exit(f"error: LAUNCHER={words[0]}: no such command")
        command = [program, *words[1:], "-m", stage, *arguments]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

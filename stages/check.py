"""Check a study file: every key and value, before a shell sees any of them. First command of every stage in dvc.yaml.

params.yaml -> nothing
"""

from pathlib import Path
from typing import Annotated

from typer import Argument

from stages.qa.cli import run
from stages.qa.config import load_params


def main(study: Annotated[Path, Argument(help="params.yaml or a file of studies/.")] = Path("params.yaml")) -> None:
    """Read STUDY as the stages do: one line and exit code 2 if a key or value is wrong."""
    load_params(study)


if __name__ == "__main__":
    run(main)

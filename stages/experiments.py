"""Print the experiments of `dvc exp show --json` as a table that fits a terminal; `make experiments` pipes them in."""

import json
import sys

from stages.qa.cli import run
from stages.qa.errors import InputError
from stages.qa.experiments import experiment_table


def main() -> None:
    """Read the JSON of `dvc exp show` from standard input."""
    try:
        shown = json.load(sys.stdin)
    except ValueError as error:
        raise InputError(f"standard input: not what `dvc exp show --json` prints ({error})") from error
    print(experiment_table(shown), end="")


if __name__ == "__main__":
    run(main)

"""Keep, with the results, where a model came from and what its files are: the models themselves are too large for git.

data/models/<key> -> metrics/<study>/models/<key>.json
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.files import write_json
from stages.qa.report.descriptions import describe_model


def main(model_dir: Path, out: Path) -> None:
    """Write source, checksums and kind of MODEL_DIR to OUT."""
    write_json(out, describe_model(model_dir))


if __name__ == "__main__":
    run(main, files="out")

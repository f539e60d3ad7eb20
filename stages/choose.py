"""Choose one l2 for all layers and models of a study, on validation articles."""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.files import write_json
from stages.qa.probing.readouts import choose_l2


def main(probes_dir: Path, out_file: Path) -> None:
    """Read what the probes of all runs lose on validation articles, in PROBES_DIR; write the choice to OUT_FILE."""
    runs = load_params().runs
    write_json(out_file, choose_l2({probes_dir / curve / run: curve for run, curve in runs.items()}))


if __name__ == "__main__":
    run(main)

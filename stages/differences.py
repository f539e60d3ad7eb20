"""Paired differences of the final curves: each layer less the one below it, each fine-tuned model less its base.

data/scores/<study>/<key> -> metrics/<study>/differences.csv
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.report.findings import pretrained_bases
from stages.qa.scoring.curves import write_rows
from stages.qa.scoring.intervals import DIFFERENCES, difference_rows
from stages.qa.scoring.question_scores import load_question_scores


def main(scores_dir: Path, out: Path) -> None:
    """Compare the models of SCORES_DIR, question by question, into OUT."""
    params = load_params()
    bases = pretrained_bases(params.probed, {key: variant.base for key, variant in params.finetuned.items()})
    scored = {
        key: {name: load_question_scores(scores_dir / key / name) for name in params.protocols} for key in params.probed
    }
    write_rows(out, DIFFERENCES, difference_rows(scored, bases, params.statistics))


if __name__ == "__main__":
    run(main, files="out")

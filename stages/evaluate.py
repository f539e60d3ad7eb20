"""Score the answers of every layer and epoch of one model with the official SQuAD 2.0 metric.

data/predictions/<key>, data/squad/<data set> -> metrics/<study>/<key>.json and layers/, intervals/, quality/,
reliability/, breakdown/, loss/ and question/<key>.csv; scores of single questions, too large for git, in
data/scores/<study>/<key>
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.answering.answers import load_answers
from stages.qa.cli import run
from stages.qa.config import headline_first, load_params
from stages.qa.data.squad import read_squad
from stages.qa.scoring.breakdown import BREAKDOWN, breakdown_rows
from stages.qa.scoring.curves import curve_points, write_losses, write_points, write_question, write_rows, write_summary
from stages.qa.scoring.intervals import INTERVALS, interval_rows
from stages.qa.scoring.quality import QUALITY, RELIABILITY, quality_rows, reliability_rows
from stages.qa.scoring.question_scores import save_question_scores, score_questions


def main(
    key: str,
    data_dir: Path,
    predictions_dir: Path,
    metrics_dir: Path,
    scores_dir: Path,
    probes: Annotated[Path | None, Option(help="Probes of the model, for the loss of their training.")] = None,
) -> None:
    """Score PREDICTIONS_DIR against DATA_DIR/dev.json, into METRICS_DIR/KEY.json, */KEY.csv and SCORES_DIR/KEY."""
    params = load_params()
    examples = read_squad(data_dir / "dev.json", purpose="score")
    protocols = headline_first(params.protocols, params.headline)
    answers = {name: load_answers(predictions_dir / name) for name in protocols}
    points = curve_points(key, examples, answers)
    write_points(metrics_dir / "layers" / f"{key}.csv", points)
    write_summary(metrics_dir / f"{key}.json", points)
    write_question(metrics_dir / "question" / f"{key}.csv", key, params.question, examples, answers)
    scored = {protocol: score_questions(examples, given) for protocol, given in answers.items()}
    held_out = {}
    for file in data_dir.glob("held_out.json"):
        golds = read_squad(file, purpose="score")
        held_out = {p: score_questions(golds, load_answers(predictions_dir / p / file.stem)) for p in protocols}
    for protocol, scores in scored.items():
        save_question_scores(scores_dir / key / protocol, scores)
    for name, columns, rows in (
        ("intervals", INTERVALS, interval_rows(key, scored, params.statistics)),
        ("quality", QUALITY, quality_rows(key, scored, held_out, params.statistics)),
        ("reliability", RELIABILITY, reliability_rows(key, scored, params.statistics)),
        ("breakdown", BREAKDOWN, breakdown_rows(key, examples, scored)),
    ):
        write_rows(metrics_dir / name / f"{key}.csv", columns, rows)
    if probes:
        write_losses(metrics_dir / "loss" / f"{key}.csv", key, probes / "loss.csv")


if __name__ == "__main__":
    run(main, out="scores_dir/key")

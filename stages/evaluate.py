"""Score the answers of every layer of one model: data/predictions/<key> -> metrics/<study> and data/scores/<study>."""

from pathlib import Path

from stages.qa.answering.answers import load_answers
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.errors import IntegrityError
from stages.qa.files import read_json, read_table, write_json, write_table
from stages.qa.scoring.answerability import quality_rows
from stages.qa.scoring.breakdown import breakdown_rows
from stages.qa.scoring.curves import PROBE_LOSS, layer_rows, loss_rows, summary
from stages.qa.scoring.intervals import all_resampled, interval_rows, step_rows
from stages.qa.scoring.question_scores import save_question_scores, score_questions


def main(
    key: str,
    probes_dir: Path,
    data_dir: Path,
    l2_file: Path,
    predictions_dir: Path,
    summary_file: Path,
    out_dir: Path,
    scores_dir: Path,
) -> None:
    """Score PREDICTIONS_DIR on DATA_DIR/dev.json under the l2 of L2_FILE, into SUMMARY_FILE, OUT_DIR and SCORES_DIR."""
    params = load_params()
    headline, settings = params.headline, params.statistics
    examples = read_squad(data_dir / "dev.json", purpose="score")
    runs = [file.parent.name for file in predictions_dir.glob("*/model.json")]
    runs.sort(key=lambda run: (run != key, run))  # the curve's own run first: the page shows its answers
    if not runs:
        raise IntegrityError(f"{predictions_dir}: holds no answers; run the predict stage again")
    answers = {
        protocol: {run: load_answers(predictions_dir / run / protocol) for run in runs}
        for protocol in dict.fromkeys([headline, *params.protocols])  # the headline's first
    }
    l2 = read_json(l2_file)["l2"]
    layers = layer_rows(key, examples, answers, headline, l2)
    scored = {protocol: score_questions(examples, of_runs, l2) for protocol, of_runs in answers.items()}
    curves = all_resampled(key, scored, settings)
    losses = [read_table(probes_dir / run / "loss.csv", PROBE_LOSS) for run in runs]
    write_table(out_dir / "layers.csv", layers)
    write_table(out_dir / "intervals.csv", interval_rows(key, curves, headline))
    write_table(out_dir / "steps.csv", step_rows(key, curves, headline))
    write_table(out_dir / "quality.csv", quality_rows(key, scored, headline, settings))
    write_table(out_dir / "breakdown.csv", breakdown_rows(key, examples, scored, headline))
    write_table(out_dir / "loss.csv", loss_rows(key, losses))
    write_json(out_dir / "runs.json", {run: read_json(predictions_dir / run / "model.json") for run in runs})
    write_json(summary_file, summary(layers, curves[headline, "probe"]))
    for protocol, scores in scored.items():
        save_question_scores(scores_dir / protocol, scores)


if __name__ == "__main__":
    run(main)

"""Compare one encoder with another, its base as a rule: what did fine-tuning move?

data/models/<key> and <other>, data/scores/<study>/<key> and <other>, data/squad/<data set>
-> metrics/<study>/<key>/compare
"""

from pathlib import Path

from stages.qa.checks.examination import Sample, compare, sampled
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import load_encoder
from stages.qa.files import write_table
from stages.qa.models.checkpoints import pick_device
from stages.qa.scoring.intervals import difference_rows
from stages.qa.scoring.question_scores import load_question_scores


def main(
    key: str,
    other: str,
    model_dir: Path,
    other_dir: Path,
    scores_dir: Path,
    other_scores_dir: Path,
    data_dir: Path,
    out_dir: Path,
) -> None:
    """Compare MODEL_DIR, called KEY, with OTHER_DIR, called OTHER, on DATA_DIR/dev.json, and their scores."""
    params = load_params()
    dev = read_squad(data_dir / "dev.json", purpose="score")
    sample = Sample([], [], sampled(dev, params.examine.dev_questions), params.windows.model_dump())
    encoder = load_encoder(model_dir, device=pick_device())
    base = load_encoder(other_dir, device=pick_device())
    scores = {name: load_question_scores(scores_dir / name) for name in params.protocols}
    other_scores = {name: load_question_scores(other_scores_dir / name) for name in params.protocols}
    similarity = compare(encoder, base, sample, model=key, other=other, settings=params.examine)
    differences = difference_rows(key, scores, other, other_scores, params.headline, params.statistics)
    write_table(out_dir / "similarity.csv", similarity)
    write_table(out_dir / "differences.csv", differences)


if __name__ == "__main__":
    run(main)

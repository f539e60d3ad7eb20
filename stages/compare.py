"""Compare one encoder with another, its base as a rule: paired differences, similarity of layers, and grafts."""

import logging
from pathlib import Path

from stages.qa.checks.examination import Sample, compare, sampled
from stages.qa.checks.grafting import graft
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import load_encoder
from stages.qa.errors import InputError
from stages.qa.files import write_table
from stages.qa.models.checkpoints import pick_device
from stages.qa.scoring.intervals import all_resampled, difference_rows, interval_rows
from stages.qa.scoring.question_scores import load_question_scores, score_questions


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
    headline, settings = params.headline, params.statistics
    dev = sampled(read_squad(data_dir / "dev.json", purpose="score"), params.examine.dev_questions)
    sample = Sample([], [], dev, params.windows.model_dump())
    encoder = load_encoder(model_dir, device=pick_device())
    base = load_encoder(other_dir, device=pick_device())
    scores = {name: load_question_scores(scores_dir / name) for name in params.protocols}
    other_scores = {name: load_question_scores(other_scores_dir / name) for name in params.protocols}
    similarity = compare(encoder, base, sample, model=key, other=other, settings=params.examine)
    differences = difference_rows(key, scores, other, other_scores, headline, settings)
    try:
        answers = graft(encoder, base, dev, sample.windows(encoder, dev), params.protocols[headline])
        grafts = {headline: score_questions(dev, {key: answers})}
    except InputError as error:  # from `graft`: two models that cannot be put together are compared all the same
        logging.getLogger(__name__).info("%s", error)
        grafts = {}
    write_table(out_dir / "grafts.csv", interval_rows(key, all_resampled(key, grafts, settings), headline))
    write_table(out_dir / "similarity.csv", similarity)
    write_table(out_dir / "differences.csv", differences)


if __name__ == "__main__":
    run(main)

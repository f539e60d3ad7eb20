"""Compare one encoder with another, its base as a rule: what did fine-tuning move?

data/models/<key> and <other>, data/probes/<other>, data/scores/<study>/<key> and <other>, data/squad/<data set>
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
from stages.qa.probing.readouts import headline_weights, load_probes
from stages.qa.scoring.intervals import difference_rows
from stages.qa.scoring.question_scores import load_question_scores


def main(
    key: str,
    other: str,
    model_dir: Path,
    other_dir: Path,
    other_probes_dir: Path,
    scores_dir: Path,
    other_scores_dir: Path,
    data_dir: Path,
    out_dir: Path,
) -> None:
    """Compare MODEL_DIR with OTHER_DIR on DATA_DIR/dev.json, and their scores; write tables to OUT_DIR.

    The tables call the models KEY and OTHER. OTHER_PROBES_DIR are read on the layers of both.
    """
    params = load_params()
    dev = read_squad(data_dir / "dev.json", purpose="score")
    sample = Sample([], sampled(dev, params.examine.dev_questions), params.windows.model_dump())
    encoder = load_encoder(model_dir, device=pick_device())
    base = load_encoder(other_dir, device=pick_device())
    probes = load_probes(other_probes_dir).of(params.probe.epochs_read)
    weights = headline_weights(probes, params.protocols[params.headline].optimizer)
    tables = compare(encoder, base, sample, weights, model=key, other=other, settings=params.examine)
    scores = {name: load_question_scores(scores_dir / name) for name in params.protocols}
    other_scores = {name: load_question_scores(other_scores_dir / name) for name in params.protocols}
    tables["differences"] = difference_rows(key, scores, other, other_scores, params.headline, params.statistics)
    for name, table in tables.items():
        write_table(out_dir / f"{name}.csv", table)


if __name__ == "__main__":
    run(main)

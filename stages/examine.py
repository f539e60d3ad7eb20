"""Check one encoder on a bounded sample: controls of its probes, similarity of its layers.

data/models/<key>, data/squad/<data set> -> metrics/<study>/<key>/examine
"""

from pathlib import Path

from stages.qa.checks.examination import Sample, examine, no_tables, sampled
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.splits import training_part
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.files import write_table
from stages.qa.models.checkpoints import pick_device
from stages.qa.models.manifest import may_be_probed


def main(key: str, model_dir: Path, data_dir: Path, out_dir: Path) -> None:
    """Examine MODEL_DIR on a sample of DATA_DIR; write tables that call it KEY to OUT_DIR."""
    params = load_params()
    settings, probe = params.examine, params.probe
    tables = no_tables()
    if may_be_probed(model_dir):
        encoder = load_encoder(model_dir, device=pick_device())
        train = read_squad(data_dir / "train.json", purpose="train")
        train = list(training_part(train, "probing", split=probe.split, share=probe.finetuning_share))
        dev = read_squad(data_dir / "dev.json", purpose="score")
        train, dev = sampled(train, settings.training_questions), sampled(dev, settings.dev_questions)
        sample = Sample(train, dev, params.windows.model_dump())
        encoder = in_precision(encoder, sample.windows(encoder, sample.dev), params.precision)
        tables = examine(encoder, sample, model=key, probe=probe, settings=settings)
    for name, table in tables.items():
        write_table(out_dir / f"{name}.csv", table)


if __name__ == "__main__":
    run(main)

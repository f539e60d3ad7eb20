"""Check one encoder on a bounded sample: controls of its probes, learning curves, similarity of its layers."""

from pathlib import Path

from stages.qa.checks.examination import Sample, examine, no_tables, sampled
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.splits import training_part
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.files import read_json, write_table
from stages.qa.models.checkpoints import pick_device
from stages.qa.models.manifest import may_be_probed


def main(key: str, model_dir: Path, data_dir: Path, l2_file: Path, out_dir: Path) -> None:
    """Examine MODEL_DIR on a sample of DATA_DIR under the l2 of L2_FILE; write tables that call it KEY to OUT_DIR."""
    params = load_params()
    settings, convex, statistics = params.examine, params.convex, params.statistics
    tables = no_tables()
    if may_be_probed(model_dir):
        encoder = load_encoder(model_dir, device=pick_device())
        examples = read_squad(data_dir / "train.json", purpose="train")
        parts = params.parts.model_dump()
        train = sampled(training_part(examples, "probing", **parts), settings.training_questions)
        validation = training_part(examples, "validation", **parts) if len(convex.l2) > 1 else []
        dev = sampled(read_squad(data_dir / "dev.json", purpose="score"), settings.dev_questions)
        sample = Sample(train, validation, dev, params.windows.model_dump())
        encoder = in_precision(encoder, sample.windows(encoder, dev), params.precision)
        l2 = read_json(l2_file)["l2"] or convex.l2[0]
        memory = params.probe.feature_memory_gib
        tables = examine(
            encoder, sample, l2, model=key, convex=convex, memory=memory, settings=settings, statistics=statistics
        )
    for name, table in tables.items():
        write_table(out_dir / f"{name}.csv", table)


if __name__ == "__main__":
    run(main)

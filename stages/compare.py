"""Compare one encoder's layers with another's, its base as a rule: what did fine-tuning move?

data/models/<key> and <other>, data/probes/<other>, data/squad/<data set>
-> metrics/<study>/similarity and transfer/<key>.from.<other>.csv
"""

from pathlib import Path

from stages.qa.checks.comparison import compare
from stages.qa.checks.controls import evenly_spread
from stages.qa.checks.frames import write_frame
from stages.qa.checks.transfer import headline_weights
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import load_encoder
from stages.qa.models.checkpoints import pick_device
from stages.qa.probing.readouts import load_probes


def main(
    key: str, other: str, model_dir: Path, other_dir: Path, probes_dir: Path, data_dir: Path, metrics_dir: Path
) -> None:
    """Compare MODEL_DIR with OTHER_DIR, whose probes are PROBES_DIR, on DATA_DIR/dev.json, into METRICS_DIR."""
    params = load_params()
    device, optimizer = pick_device(), params.protocols[params.headline].optimizer
    examples = evenly_spread(read_squad(data_dir / "dev.json", purpose="score"), params.examine.dev_questions)
    similarity, transfer = compare(
        load_encoder(model_dir, device=device),
        load_encoder(other_dir, device=device),
        headline_weights(load_probes(probes_dir).of(params.epochs_read), optimizer),
        examples,
        other=other,
        window_settings=params.windows.model_dump(),
        settings=params.examine,
    )
    write_frame(metrics_dir / "similarity" / f"{key}.from.{other}.csv", key, similarity)
    write_frame(metrics_dir / "transfer" / f"{key}.from.{other}.csv", key, transfer)


if __name__ == "__main__":
    run(main, files="metrics_dir/key/other")

"""Check the probes of one encoder on a bounded sample: controls, mixes, one-layer networks, probes across layers.

data/models/<key>, data/probes/<key>, data/squad/<data set> -> metrics/<study>/controls, code_length, mixing, mlp,
transfer and similarity/<key>.csv
"""

from pathlib import Path

import pandas as pd

from stages.qa.checks.controls import evenly_spread
from stages.qa.checks.examination import Sample, examine
from stages.qa.checks.frames import write_frame
from stages.qa.checks.transfer import headline_weights
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.splits import training_part
from stages.qa.data.squad import read_squad, stream_squad
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.models.checkpoints import pick_device
from stages.qa.probing.extras import load_modules
from stages.qa.probing.readouts import load_probes


def main(key: str, model_dir: Path, probes_dir: Path, data_dir: Path, metrics_dir: Path) -> None:
    """Examine MODEL_DIR and its PROBES_DIR on a sample of DATA_DIR, into METRICS_DIR/*/KEY.csv."""
    params = load_params()
    settings, probe = params.examine, params.probe
    encoder = load_encoder(model_dir, device=pick_device())
    questions = stream_squad(data_dir / "train.json", purpose="train")
    train = list(training_part(questions, "probing", split=probe.split, share=probe.finetuning_share))
    dev = read_squad(data_dir / "dev.json", purpose="score")
    sample = Sample(
        evenly_spread(train, settings.training_questions),
        evenly_spread(dev, settings.dev_questions),
        params.windows.model_dump(),
    )
    encoder = in_precision(encoder, sample.windows(encoder, sample.dev), params.precision)
    optimizer = params.protocols[params.headline].optimizer
    weights = headline_weights(load_probes(probes_dir).of(params.epochs_read), optimizer)
    modules = load_modules(probes_dir, encoder)
    frames = examine(encoder, sample, weights, modules, probe=probe, settings=settings)
    frames["code_length"] = pd.read_csv(probes_dir / "code_length.csv")
    for name, frame in frames.items():
        write_frame(metrics_dir / name / f"{key}.csv", key, frame)


if __name__ == "__main__":
    run(main, files="metrics_dir/key")

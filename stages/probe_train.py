"""Train a start and an end vector on every layer of one frozen encoder.

data/models/<key>, data/squad/<data set> -> data/probes/<key>
"""

from pathlib import Path

import numpy as np

from stages.qa.checkpoints import pick_device
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.convex import fit_optimum
from stages.qa.encoder import load_encoder
from stages.qa.features import Features
from stages.qa.probes import train_probes
from stages.qa.readouts import Probes, save_probes
from stages.qa.squad import read_squad
from stages.qa.windows import make_windows


def main(model_dir: Path, data_dir: Path, out_dir: Path) -> None:
    """Train probes on the hidden states of MODEL_DIR over DATA_DIR/train.json, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    examples = read_squad(data_dir / "train.json", purpose="train")
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    features = Features(encoder, windows, gib=params.probe.feature_memory_gib)
    probes = Probes.empty(encoder.layers, encoder.hidden)
    if "adamw" in params.optimizers:
        probes = probes + train_probes(features, params.probe)
    if "convex" in params.optimizers:
        articles = np.array([examples[row].article for row in windows.examples])
        probes = probes + fit_optimum(features, articles, params.convex)
    save_probes(out_dir, probes)


if __name__ == "__main__":
    run(main, out="out_dir")

"""F1 by layer of any encoder that transformers loads, on any two SQuAD-format files, with controls: the Python API.

    python -m examples.layer_curve sentence-transformers/all-MiniLM-L6-v2 data/sample/train.json data/sample/dev.json

Values that are not given here are those of params.yaml and method.yaml.
"""

import sys
from pathlib import Path

import pandas as pd
from transformers import AutoModel, AutoTokenizer

from stages.qa.checks.examination import Sample, examine, sampled
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.encoding.features import Features
from stages.qa.notebook import encoder_of, layer_curve
from stages.qa.probing.probes import train_probes
from stages.qa.probing.readouts import headline_weights


def main(name: str, train_file: str, dev_file: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Print the curve of the model `name` (of the hub, or a folder), then its controls; return both."""
    root = Path(__file__).parents[1]
    params = load_params(root / "params.yaml", root / "method.yaml")
    window_settings = params.windows.model_dump()

    # 1. A model, and questions.
    encoder = encoder_of(AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name), name=name)
    train = sampled(read_squad(Path(train_file), purpose="train"), 200)
    dev = sampled(read_squad(Path(dev_file), purpose="score"), 100)

    # 2. A probe on every layer, scored by the official metric. Any setting can be changed like this.
    probe = params.probe.model_copy(update={"learning_rates": [1e-2], "epochs": 3})
    protocol = next(iter(params.protocols.values())).model_copy(update={"optimizer": "adamw"})
    curve = layer_curve(encoder, train, dev, window_settings=window_settings, probe=probe, protocol=protocol)
    last = curve[curve["epoch"] == probe.epochs]
    print(last[["layer", "exact", "f1", "HasAns_f1", "NoAns_f1", "forced_f1"]].to_string(index=False))

    # 3. The same probe on tasks that the layers should not help with.
    sample = Sample(sampled(train, 60), sampled(dev, 40), window_settings)
    features = Features(encoder, sample.windows(encoder, train), gib=probe.feature_memory_gib)
    weights = headline_weights(train_probes(features, probe), "adamw")
    controls = examine(encoder, sample, weights, model=name, probe=probe, settings=params.examine)["controls"]
    print(controls.pivot(index="layer", columns="control", values="forced_f1").round(1).to_string())
    return curve, controls


if __name__ == "__main__":
    main(*sys.argv[1:])

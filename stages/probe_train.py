"""Train a start and an end vector on every layer of one frozen encoder, and what learns beside them.

data/models/<key>, data/squad/<data set> -> data/probes/<key>
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.splits import training_part
from stages.qa.data.squad import stream_squad
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.models.checkpoints import pick_device
from stages.qa.probing.convex import fit_optimum
from stages.qa.probing.extras import new_extras, save_extras
from stages.qa.probing.probes import train_probes
from stages.qa.probing.random_spans import random_spans
from stages.qa.probing.readouts import Probes, save_probes


def main(model_dir: Path, data_dir: Path, out_dir: Path) -> None:
    """Train probes on the hidden states of MODEL_DIR over DATA_DIR/train.json, into OUT_DIR."""
    params = load_params()
    probe = params.probe
    encoder = load_encoder(model_dir, device=pick_device())
    examples = stream_squad(data_dir / "train.json", purpose="train")
    examples = training_part(examples, "probing", split=probe.split, share=probe.finetuning_share)
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    encoder = in_precision(encoder, windows, params.precision)
    features = Features(encoder, windows, gib=probe.feature_memory_gib)
    probes = Probes.empty(encoder.layers, encoder.hidden)
    extras = new_extras(
        encoder,
        probe=probe,
        code_length=params.code_length,
        mixing=params.mixing,
        mlp=params.mlp,
        random_targets=random_spans(windows, doc_stride=params.windows.doc_stride, seed=probe.order_seed)[0],
    )
    if "adamw" in params.optimizers:
        probes = probes + train_probes(features, probe, extras.learners)
    if "convex" in params.optimizers:
        probes = probes + fit_optimum(features, windows.articles, params.convex)
    save_probes(out_dir, probes)
    save_extras(out_dir, extras)


if __name__ == "__main__":
    run(main, out="out_dir")

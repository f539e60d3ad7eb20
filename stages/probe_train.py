"""Train a start and an end vector on every layer of one frozen encoder.

data/models/<run>, data/squad/<data set> -> data/probes/<curve>/<run>
"""

from functools import partial
from pathlib import Path
from typing import Literal

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.guard import check_gold
from stages.qa.data.splits import training_part
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.models.checkpoints import pick_device
from stages.qa.models.manifest import may_be_probed
from stages.qa.probing.convex import fit_optimum
from stages.qa.probing.probes import train_probes
from stages.qa.probing.readouts import Probes, save_probes


def main(model_dir: Path, data_dir: Path, out_dir: Path) -> None:
    """Train probes on the hidden states of MODEL_DIR over DATA_DIR/train.json, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    optimizers = params.optimizers if may_be_probed(model_dir) else []
    file, stride = data_dir / "train.json", params.windows.doc_stride
    examples = read_squad(file, purpose="train")

    def windows_of(part: Literal["probing", "validation"]) -> Windows:
        questions = training_part(examples, part, **params.parts.model_dump())
        windows = make_windows(questions, encoder.tokenizer, **params.windows.model_dump())
        check_gold(questions, windows, encoder.tokenizer, file=file, least=params.guard, doc_stride=stride)
        return windows

    several = "convex" in optimizers and len(params.convex.l2) > 1  # validation articles choose one of them
    windows, validation = windows_of("probing"), windows_of("validation") if several else None
    encoder = in_precision(encoder, windows, params.precision)
    out_dir.mkdir(parents=True, exist_ok=True)
    memory, file_gib = params.probe.feature_memory_gib, params.probe.feature_file_gib
    features_of = partial(Features, encoder, gib=memory, folder=out_dir, file_gib=file_gib)
    features = features_of(windows)
    probes = Probes.empty(encoder.layers, encoder.hidden)
    if "adamw" in optimizers:
        probes += train_probes(features, params.probe)
    if "convex" in optimizers:
        judge = None if validation is None else features_of(validation)
        probes += fit_optimum(features, judge, params.convex)
    save_probes(out_dir, probes)


if __name__ == "__main__":
    run(main)

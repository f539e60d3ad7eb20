"""What was measured on the sample, as frames with a row per layer or pair of layers; out to CSV.

forced_f1: percent, over the sampled dev questions that have an answer (`questions`). nll: nats a position, mean over
windows and over start and end. bits: as said in `code_length`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.qa.checks.judging import Judged
from stages.qa.files import write_text

TASK = "task"  # the probe itself, trained on the sample as the controls are: what they are compared with
MIXING = ["layer", "weight", "questions", "forced_f1", "nll"]
MLP = ["layer", "questions", "forced_f1", "nll", "linear_forced_f1", "linear_nll"]


def control_frame(judged: dict[str, Judged], training_questions: int) -> pd.DataFrame:
    """A row per control and layer; selectivity: the task's forced F1 less the control's, in points; in nats: the other
    way round, since less is better there. A control without layers has the same score at each."""
    task = judged[TASK]
    parts = []
    for name, found in judged.items():
        f1, nll = (np.broadcast_to(values, task.nll.shape) for values in (found.forced_f1, found.nll))
        part = pd.DataFrame({"control": name, "layer": range(len(f1)), "training_questions": training_questions})
        part["questions"] = found.questions
        part["forced_f1"], part["nll"] = f1, nll
        part["selectivity"] = task.forced_f1 - f1 if name != TASK else np.nan
        part["selectivity_nats"] = nll - task.nll if name != TASK else np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def mixing_frame(judged: Judged, weights: np.ndarray) -> pd.DataFrame:
    """A row per layer l: its weight in the mix of all layers, and how the mix of layers 0 to l does."""
    return _layers(judged).assign(weight=weights)[MIXING]


def mlp_frame(judged: Judged, linear: pd.DataFrame) -> pd.DataFrame:
    """A row per layer: the one-layer network beside the linear probe of the layer (of a `transfer_frame`)."""
    own = linear[linear["probe_layer"] == linear["layer"]]
    values = {f"linear_{name}": own[name].to_numpy() for name in ("forced_f1", "nll")}
    return _layers(judged).assign(**values)[MLP]


def _layers(judged: Judged) -> pd.DataFrame:
    values = {"forced_f1": judged.forced_f1, "nll": judged.nll}
    return pd.DataFrame({"layer": range(len(judged.nll)), "questions": judged.questions, **values})


def transfer_frame(judged: Judged, probes: int, *, other: str) -> pd.DataFrame:
    """A row per pair of a probe's layer, of the model `other`, and the layer that it is read on."""
    layers = len(judged.nll) // probes
    rows = pd.MultiIndex.from_product([range(probes), range(layers)], names=["probe_layer", "layer"]).to_frame(False)
    rows.insert(0, "probes_of", other)
    values = {"forced_f1": judged.forced_f1, "nll": judged.nll}
    return rows.assign(questions=judged.questions, **values)


def similarity_frame(cka: np.ndarray, *, other: str, tokens: int) -> pd.DataFrame:
    """A row per pair of layers."""
    pairs = pd.MultiIndex.from_product(map(range, cka.shape), names=["layer", "other_layer"]).to_frame(False)
    pairs.insert(1, "other", other)
    return pairs.assign(tokens=tokens, cka=cka.ravel())


def write_frame(path: Path, model: str, frame: pd.DataFrame) -> None:
    """CSV, the model's name as first column, numbers to six digits."""
    frame = frame.copy()
    frame.insert(0, "model", model)
    write_text(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))

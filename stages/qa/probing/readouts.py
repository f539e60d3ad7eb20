"""Trained probes: a start and an end vector for every layer of every readout; in and out of a folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.errors import IntegrityError
from stages.qa.files import read_json, read_tensors, refuses_damage, write_json, write_table, write_tensors
from stages.qa.readings import Readout

# mean training loss, in nats a position, over a part of an epoch; epoch, step: so far, at the end of the part
LOSS = ["layer", "learning_rate", "seed", "epoch", "step", "loss"]
LossPoint = tuple[int, float, int, float, int, float]  # a row under LOSS


@dataclass(frozen=True)
class Probes:
    """Readouts, and how their training went."""

    readouts: list[Readout]
    weights: np.ndarray  # (readouts, layers, hidden, 2) float32: start and end vectors
    losses: list[LossPoint] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)  # of the convex fits, one for each l2 and layer

    @classmethod
    def empty(cls, layers: int, hidden: int) -> "Probes":
        """No readout yet, for an encoder of this size."""
        return cls([], np.zeros((0, layers, hidden, 2), dtype=np.float32))

    def __add__(self, other: "Probes") -> "Probes":
        return Probes(
            self.readouts + other.readouts,
            np.concatenate([self.weights, other.weights]),
            self.losses + other.losses,
            self.certificates + other.certificates,
        )


def choose_l2(curves: Mapping[Path, str]) -> dict[str, Any]:
    """The l2 of a study: that of the lowest loss on validation articles, a mean over layers and runs, then over curves.

    curves: folder of a run's probes -> its curve. Returns l2 (None where no probe is at its optimum), whether it is the
    lowest or highest of several candidates, and the mean loss in nats of each candidate. A single one is not judged.
    """
    certificates = {folder: read_json(folder / "certificates.json") for folder in curves}
    rows = pd.DataFrame([row | {"curve": curves[folder]} for folder, of_run in certificates.items() for row in of_run])
    if rows.empty:
        return {"l2": None, "at_edge": False, "validation_loss": []}
    losses = rows.astype({"validation_loss": float}).groupby(["l2", "curve"])["validation_loss"].mean()
    losses = losses.groupby("l2").mean()
    candidates = [float(l2) for l2 in losses.index]  # in ascending order
    chosen = candidates[0] if len(candidates) == 1 else float(losses.idxmin())
    at_edge = len(candidates) > 1 and chosen in (candidates[0], candidates[-1])
    table = [{"l2": l2, "loss": loss} for l2, loss in losses.dropna().items()]
    return {"l2": chosen, "at_edge": at_edge, "validation_loss": table}


def save_probes(folder: Path, probes: Probes) -> None:
    """Write weights, readouts, loss curve and certificates."""
    write_tensors(folder / "probes.safetensors", {"weights": probes.weights.astype(np.float32)})
    write_json(folder / "readouts.json", [asdict(readout) for readout in probes.readouts])
    write_json(folder / "certificates.json", probes.certificates)
    losses = pd.DataFrame(probes.losses, columns=LOSS)
    write_table(folder / "loss.csv", losses.round({"epoch": 5, "loss": 5}))


@refuses_damage
def load_probes(folder: Path) -> Probes:
    """The readouts and their weights, without loss curve and certificates; IntegrityError if they do not fit."""
    readouts = [Readout(**row) for row in read_json(folder / "readouts.json")]
    weights = read_tensors(folder / "probes.safetensors")["weights"]
    if weights.ndim != 4 or len(weights) != len(readouts) or not np.isfinite(weights).all():
        raise IntegrityError(f"{folder}/probes.safetensors: {weights.shape} weights for {len(readouts)} readouts")
    return Probes(readouts, weights)

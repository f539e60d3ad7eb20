"""Trained probes: a stack of readouts, each a start and an end vector for every layer; in and out of a folder."""

import csv
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from stages.qa.errors import InputError, IntegrityError
from stages.qa.files import read_json, read_tensors, refuses_damage, write_json, write_tensors, write_text
from stages.qa.readings import Readout as Readout


@dataclass(frozen=True)
class Probes:
    """Readouts and how they came about."""

    readouts: list[Readout]
    weights: np.ndarray  # (readouts, layers, hidden, 2) float32: start and end vectors
    losses: list[tuple[int, float, int, float, float]] = field(default_factory=list)
    # ^ training loss on the way: layer, learning rate, seed, epochs so far, nats
    certificates: list[dict[str, float | int]] = field(default_factory=list)  # of the convex fit, one for each layer

    @classmethod
    def empty(cls, layers: int, hidden: int) -> "Probes":
        """No readout yet, for an encoder of this size."""
        return cls([], np.zeros((0, layers, hidden, 2), dtype=np.float32))

    def of(self, epochs: list[int] | None) -> "Probes":
        """Without the readouts of other epochs; None: all. InputError if an epoch was not trained."""
        trained = {readout.epoch for readout in self.readouts if readout.epoch is not None}
        if missing := sorted(set(epochs or ()) - trained) if trained else []:
            raise InputError(f"epochs_read: epoch {missing[0]} is not among those trained: {sorted(trained)}")
        kept = [i for i, r in enumerate(self.readouts) if None in (r.epoch, epochs) or r.epoch in (epochs or ())]
        return Probes([self.readouts[i] for i in kept], self.weights[kept])

    def __add__(self, other: "Probes") -> "Probes":
        return Probes(
            self.readouts + other.readouts,
            np.concatenate([self.weights, other.weights]),
            self.losses + other.losses,
            self.certificates + other.certificates,
        )


def save_probes(folder: Path, probes: Probes) -> None:
    """Write weights, readouts, loss curve and certificates."""
    write_tensors(folder / "probes.safetensors", {"weights": probes.weights.astype(np.float32)})
    write_json(folder / "readouts.json", [asdict(readout) for readout in probes.readouts])
    write_json(folder / "certificates.json", probes.certificates)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["layer", "learning_rate", "seed", "epoch", "loss"])
    writer.writerows((*row[:3], f"{row[3]:g}", f"{row[4]:.5f}") for row in probes.losses)
    write_text(folder / "loss.csv", table.getvalue())


@refuses_damage
def load_probes(folder: Path) -> Probes:
    """The readouts and their weights, without the loss curve; IntegrityError if they do not fit."""
    readouts = [Readout(**row) for row in read_json(folder / "readouts.json")]
    weights = read_tensors(folder / "probes.safetensors")["weights"]
    if weights.ndim != 4 or len(weights) != len(readouts) or not np.isfinite(weights).all():
        raise IntegrityError(f"{folder}/probes.safetensors: {weights.shape} weights for {len(readouts)} readouts")
    return Probes(readouts, weights)

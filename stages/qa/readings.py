"""What gives a row of answers: a probe on a layer, the checkpoint's own head, or the gold spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# columns of the tables that the stages examine and compare write
CONTROLS = ["model", "control", "layer", "training_questions", "questions", "forced_f1", "nll"]
CONTROLS += ["selectivity", "selectivity_nats"]
SIMILARITY = ["model", "layer", "other", "other_layer", "tokens", "cka"]


@dataclass(frozen=True)
class Readout:
    """One trained set of probes, which has a start and an end vector for every layer."""

    optimizer: str
    epoch: int | None  # 1 = after the first epoch; None: not trained in epochs
    learning_rate: float | None
    seed: int | None


@dataclass(frozen=True)
class Reading:
    """One way to answer the questions from one layer."""

    kind: Literal["probe", "head", "gold"]  # head: the checkpoint's own; gold: the true spans, the protocol's ceiling
    layer: int  # the last one for head and gold
    readout: Readout | None  # None for head and gold


def reading_columns(reading: Reading) -> dict[str, Any]:
    """The columns reading, epoch, layer, learning_rate and seed of a table; None where a column does not apply."""
    readout = reading.readout
    return {
        "reading": reading.kind,
        "epoch": readout and readout.epoch,
        "layer": reading.layer,
        "learning_rate": readout and readout.learning_rate,
        "seed": readout and readout.seed,
    }


def is_final(readings: Sequence[Reading]) -> list[bool]:
    """Whether each reading belongs to the final curves.

    Probes are final after their last epoch at the first learning rate, with every seed. Probes without epochs, heads
    and gold spans are always final.
    """
    readouts = [reading.readout for reading in readings]
    trained = [readout for readout in readouts if readout and readout.epoch is not None]
    last_epoch = max((readout.epoch or 0 for readout in trained), default=None)
    first_rate = trained[0].learning_rate if trained else None
    return [
        readout is None or readout.epoch is None or (readout.epoch, readout.learning_rate) == (last_epoch, first_rate)
        for readout in readouts
    ]


def read_readings(header: Mapping[str, Any]) -> list[Reading]:
    """The readings of a JSON header, which holds each as `dataclasses.asdict` gives it."""
    return [
        Reading(row["kind"], row["layer"], Readout(**row["readout"]) if row["readout"] else None)
        for row in header["readings"]
    ]

"""What gives a row of answers: a probe or the checkpoint's own head, on a layer, or the gold spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# columns of the tables that the stages examine and compare write
JUDGED = ["training_questions", "questions", "forced_f1", "band_low", "band_high", "nll"]
CONTROLS = ["model", "control", "layer", *JUDGED, "selectivity"]
CLUSTERS = ["model", "control", "layer", "cluster", "questions", "f1_sum"]
LEARNING = ["model", "layer", "articles", *JUDGED]
DESCRIPTION = ["model", "layer", "articles", "windows", "uniform_bits", "online_bits", "compression"]
SIMILARITY = ["model", "layer", "other", "other_layer", "tokens", "cka"]


@dataclass(frozen=True)
class Readout:
    """One trained set of probes, which has a start and an end vector for every layer."""

    optimizer: str
    epoch: int | None = None  # 1 = after the first epoch; None: not trained in epochs
    learning_rate: float | None = None
    seed: int | None = None
    l2: float | None = None  # of the penalty, for a probe at its optimum


@dataclass(frozen=True)
class Reading:
    """One way to answer the questions from one layer."""

    # head: the checkpoint's own; lens: the same head on a layer; gold: the true spans, the protocol's ceiling
    # graft, graft_reverse: the head of a model made of two (see `grafting`), up to the layer of one and then the other
    kind: Literal["probe", "lens", "head", "gold", "graft", "graft_reverse"]
    layer: int  # the last one for head and gold
    readout: Readout | None  # None for all but probes


def reading_columns(reading: Reading) -> dict[str, Any]:
    """The columns reading, layer, epoch, learning_rate, seed and l2 of a table; None where one does not apply."""
    of_readout = {name: getattr(reading.readout, name, None) for name in ("epoch", "learning_rate", "seed", "l2")}
    return {"reading": reading.kind, "layer": reading.layer} | of_readout


def is_final(readings: Sequence[Reading], l2: float | None = None) -> list[bool]:
    """Whether each reading belongs to the final curves.

    Probes at their optimum are final under the study's `l2`; those trained in epochs after their last epoch, at the
    first learning rate, with every seed. All other readings are always final.
    """
    trained = [reading.readout for reading in readings if reading.readout and reading.readout.epoch is not None]
    last_epoch = max((readout.epoch or 0 for readout in trained), default=None)
    first_rate = trained[0].learning_rate if trained else None
    final = (None, None, l2), (last_epoch, first_rate, None)
    readouts = [reading.readout for reading in readings]
    return [one is None or (one.epoch, one.learning_rate, one.l2) in final for one in readouts]


def read_readings(header: Mapping[str, Any]) -> list[Reading]:
    """The readings of a JSON header, which holds each as `dataclasses.asdict` gives it."""
    return [
        Reading(row["kind"], row["layer"], Readout(**row["readout"]) if row["readout"] else None)
        for row in header["readings"]
    ]

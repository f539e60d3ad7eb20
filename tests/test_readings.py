"""Readings by hand: which are final, their columns, and the way to JSON and back."""

import json
from dataclasses import asdict

from stages.qa.readings import Reading, Readout, is_final, read_readings, reading_columns

HEAD, GOLD, LENS = Reading("head", 1, None), Reading("gold", 1, None), Reading("lens", 0, None)


def probe(epoch: int | None, learning_rate: float | None, seed: int | None, optimizer: str = "adamw") -> Reading:
    return Reading("probe", 0, Readout(optimizer, epoch, learning_rate, seed))


OPTIMUM = Reading("probe", 0, Readout("convex", l2=0.1))


def test_final_is_the_last_epoch_at_the_first_learning_rate() -> None:
    probes = [probe(1, 0.1, 0), probe(2, 0.1, 0), probe(2, 0.1, 1), probe(2, 0.2, 0)]
    assert is_final(probes) == [False, True, True, False]
    assert is_final([*probes, GOLD, HEAD]) == [False, True, True, False, True, True]


def test_without_epochs_those_under_the_studys_l2_are_final() -> None:
    other = Reading("probe", 0, Readout("convex", l2=1.0))
    assert is_final([OPTIMUM, other, LENS, GOLD, HEAD], 0.1) == [True, False, True, True, True]
    assert is_final([]) == []


def test_columns() -> None:
    assert reading_columns(probe(2, 0.1, 0)) == {
        "reading": "probe", "epoch": 2, "layer": 0, "learning_rate": 0.1, "seed": 0, "l2": None
    }  # fmt: skip
    nothing = dict.fromkeys(["epoch", "learning_rate", "seed", "l2"])
    assert reading_columns(HEAD) == {"reading": "head", "layer": 1, **nothing}
    assert reading_columns(OPTIMUM) == {"reading": "probe", "layer": 0, **nothing, "l2": 0.1}


def test_json_and_back() -> None:
    readings = [probe(1, 0.1, 0), OPTIMUM, LENS, HEAD]
    header = {"readings": [asdict(reading) for reading in readings]}
    assert read_readings(json.loads(json.dumps(header))) == readings

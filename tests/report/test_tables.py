"""Score tables against numbers worked out by hand: of 4 HasAns and 6 NoAns questions, F1 is 0.4 HasAns + 0.6 NoAns."""

from pathlib import Path

import pandas as pd
import pytest

from stages.qa.errors import InputError
from stages.qa.report import tables

NAN = float("nan")


def point(model: str, layer: int, has: float, no: float, **changes: object) -> dict[str, object]:
    """A row: F1 `has` and `no` on HasAns and NoAns questions, exact match on HasAns half of F1."""
    row: dict[str, object] = dict.fromkeys(tables.KEYS + tables.SCORES, NAN)
    row |= {"model": model, "protocol": "paper", "reading": "probe", "epoch": 2, "layer": layer}
    row |= {"learning_rate": 0.1, "seed": 1, "total": 10, "HasAns_total": 4, "NoAns_total": 6}
    row |= {"HasAns_f1": has, "HasAns_exact": has / 2, "NoAns_f1": no, "NoAns_exact": no}
    row |= {"f1": (4 * has + 6 * no) / 10, "exact": (2 * has + 6 * no) / 10, "forced_f1": has + 5, "forced_exact": has}
    return row | changes


def own_head(model: str, layer: int, has: float, no: float, **changes: object) -> dict[str, object]:
    return point(model, layer, has, no, reading="head", epoch=NAN, learning_rate=NAN, seed=NAN) | changes


B = [
    point("b", 0, 0, 100),
    point("b", 0, 0, 100, seed=2),
    point("b", 1, 50, 80),
    point("b", 1, 30, 90, seed=2),
    point("b", 2, 20, 90),
    point("b", 2, 20, 90, seed=2),
    point("b", 0, 99, 99, epoch=1),  # better, but not the last epoch
    point("b", 2, 98, 98, learning_rate=0.05),  # better, but not the first learning rate
    own_head("b", 2, 55, 80),
]
# Layers 1 and 2 tie with the floor in F1, and beat layer 0 in HasAns F1.
A = [point("a", 0, 0, 100), point("a", 1, 15, 90), point("a", 2, 15, 90)]
TABLE = """\
| model | best | exact |    F1 | HasAns | NoAns | forced | last | exact |    F1 | HasAns | NoAns | forced |  head |
| ----- | ---: | ----: | ----: | -----: | ----: | -----: | ---: | ----: | ----: | -----: | ----: | -----: | ----: |
| b     |    1 | 59.00 | 67.00 |  40.00 | 85.00 |  45.00 |    2 | 58.00 | 62.00 |  20.00 | 90.00 |  25.00 | 70.00 |
| a     |    1 | 57.00 | 60.00 |  15.00 | 90.00 |  20.00 |    2 | 57.00 | 60.00 |  15.00 | 90.00 |  20.00 |     - |
"""


def write(folder: Path, rows: list[dict[str, object]], name: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{name or rows[0]['model']}.csv", index=False)


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    write(tmp_path, B)
    write(tmp_path, A)
    write(tmp_path, [point("removed-from-the-study", 0, 0, 100)])
    return tables.read_layers(tmp_path, ["b", "a"])


def test_reads_the_models_of_the_study_in_its_order(frame: pd.DataFrame) -> None:
    assert list(dict.fromkeys(frame["model"])) == ["b", "a"]
    assert len(frame) == len(A) + len(B)
    assert frame["layer"].dtype == int


def test_result_table(frame: pd.DataFrame) -> None:
    table, _, rest = tables.result_table(frame).partition("\n\n")
    assert table.splitlines() == TABLE.splitlines()
    first, _, legend = rest.partition("\n\n")
    assert first == '10 questions: 4 HasAns, 6 NoAns. Always answering "no answer" scores 60.00 (exact and F1).'
    assert "mean of 2 seeds" in legend
    assert max(map(len, rest.splitlines())) <= 120


def test_result_table_of_several_protocols(tmp_path: Path) -> None:
    fit = {"protocol": "corrected", "epoch": NAN, "learning_rate": NAN, "seed": NAN}
    write(tmp_path, [*A, point("a", 0, 0, 100, **fit), point("a", 1, 45, 80, **fit), own_head("a", 1, 70, 60, **fit)])
    lines = tables.result_table(tables.read_layers(tmp_path, ["a"])).splitlines()
    assert lines[0].startswith("| model | protocol  | best | exact ")
    assert [line.split()[3] for line in lines[2:4]] == ["paper", "corrected"]
    assert lines[2].endswith("|     - |")
    assert lines[3].split()[1::2][2:5] == ["1", "57.00", "66.00"]
    assert lines[3].endswith("| 64.00 |")  # (4 * 70 + 6 * 60) / 10


def test_last_epoch_is_told_per_protocol_and_keeps_what_has_none() -> None:
    rows = [
        *(point("a", 0, 0, 100, epoch=epoch) for epoch in (1, 2, 3)),
        *(point("a", 0, 0, 100, epoch=epoch, protocol="short") for epoch in (1, 2)),
        point("a", 0, 0, 100, epoch=NAN, protocol="corrected"),
        own_head("a", 0, 0, 100),
    ]
    kept = tables.last_epoch(pd.DataFrame(rows))
    assert list(kept["protocol"]) == ["paper", "short", "corrected", "paper"]
    assert list(kept["epoch"].fillna(-1)) == [3, 2, -1, -1]


def test_long_form(frame: pd.DataFrame) -> None:
    long = tables.long_form(frame)
    assert list(long.columns) == ["model", "protocol", "layer", "split", "f1", "exact"]
    assert len(long) == 2 * 3 * 4  # models, layers, splits: no heads, seeds or epochs
    layer = long[(long["model"] == "b") & (long["layer"] == 1)].set_index("split")
    assert layer["f1"].to_dict() == {"all": 67.0, "HasAns": 40.0, "NoAns": 85.0, "forced": 45.0}
    assert layer["exact"].to_dict() == {"all": 59.0, "HasAns": 20.0, "NoAns": 85.0, "forced": 40.0}


def test_a_split_without_questions_is_left_out(tmp_path: Path) -> None:
    none = {"total": 4, "NoAns_total": NAN, "NoAns_f1": NAN, "NoAns_exact": NAN, "f1": 30.0, "exact": 20.0}
    write(tmp_path, [point("a", 0, 30, 0, **none)])
    frame = tables.read_layers(tmp_path, ["a"])
    assert list(tables.long_form(frame)["split"]) == ["all", "HasAns", "forced"]
    assert tables.no_answer_score(frame) == 0
    assert "4 questions: 4 HasAns, 0 NoAns. Always" in tables.result_table(frame)


def test_a_model_may_be_called_null(tmp_path: Path) -> None:
    write(tmp_path, [point("null", 0, 0, 100)])
    assert list(tables.read_layers(tmp_path, ["null"])["model"]) == ["null"]


def test_losses_are_averaged_over_the_seeds_of_the_first_rate(tmp_path: Path) -> None:
    rows = [
        ("a", 0, 0.1, 1, 0.5, 4.0),
        ("a", 0, 0.1, 2, 0.5, 3.0),
        ("a", 0, 0.2, 1, 0.5, 1.0),
        ("a", 1, 0.1, 1, 0.5, 2.0),
    ]
    pd.DataFrame(rows, columns=tables.LOSS).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame([], columns=tables.LOSS).to_csv(tmp_path / "convex.csv", index=False)
    mean = tables.mean_over_seeds(tables.first_rate(tables.read_losses(tmp_path, ["convex", "a"])))
    assert mean[["model", "layer", "epoch", "loss"]].to_numpy().tolist() == [["a", 0, 0.5, 3.5], ["a", 1, 0.5, 2.0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([point("other", 0, 0, 100)], "column model says 'other'"),
        ([point("a", 0, 0, 100, f1="high")], "not the expected CSV"),
        ([point("a", 0, 0, 100, f1=NAN)], "f1 is empty"),
        ([point("a", 0, 0, 100, protocol="")], "protocol is empty"),
        ([point("a", 0, 0, 100, reading="guess")], "reading 'guess' is none of probe, head"),
        ([own_head("a", 0, 0, 100)], "no row with reading 'probe'"),
        (
            [point("a", 0, 0, 100), point("a", 3, 0, 100), point("a", 3, 0, 99)],
            r"two rows for one curve point \(layer 3\)",
        ),
        ([point("a", 0, 0, 100, total=11)], "total or NoAns_total differs between rows or from b.csv"),
        ([point("a", 0, 0, 100), point("a", 1, 0, 100, NoAns_total=5)], "total or NoAns_total differs"),
        ([{key: value for key, value in A[0].items() if key != "forced_f1"}], "no column 'forced_f1'"),
    ],
)
def test_faults_name_the_file(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    write(tmp_path, B)
    write(tmp_path, rows, name="a")
    with pytest.raises(InputError, match=message) as caught:
        tables.read_layers(tmp_path, ["b", "a"])
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    write(tmp_path, B)
    with pytest.raises(InputError, match=r"a\.csv: no such file; has the evaluate stage run for a\?"):
        tables.read_layers(tmp_path, ["b", "a"])
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=r"a\.csv: not the expected CSV"):
        tables.read_losses(tmp_path, ["a"])
    pd.DataFrame([("a", 0, 0.1, 1, 0.5, NAN)], columns=tables.LOSS).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"a\.csv: layer, epoch or loss is empty"):
        tables.read_losses(tmp_path, ["a"])

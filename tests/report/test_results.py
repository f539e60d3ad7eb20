"""The tables of a study are read back; what is wrong with them is named."""

from pathlib import Path

import pytest

from stages.qa.errors import InputError, IntegrityError
from stages.qa.report.page_data import split_rows
from stages.qa.report.results import Results, at_final_rate, no_answer_score, read_results
from stages.qa.scoring.curves import LAYERS, LOSS
from tests.page_example import MODELS, write, write_study
from tests.report.example import NAN, curves, gold_or_head, point

POINTS = [
    point("base", 0, 0, 100),
    point("base", 0, 0, 100, seed=2),
    point("base", 1, 50, 80),
    point("base", 1, 30, 90, seed=2),
    point("base", 0, 99, 99, epoch=1),  # better, but not the last epoch
    point("base", 1, 98, 98, learning_rate=0.2),  # better, but not the first learning rate
    gold_or_head("head", "base", 1, 55, 80),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path)
    return tmp_path


def read(folder: Path) -> Results:
    return read_results(folder, {model: [model] for model in MODELS}, {"tuned": "base"})


def test_models_come_in_the_order_of_the_study(folder: Path) -> None:
    results = read_results(folder, {"noise": ["noise"], "tuned": ["tuned"]}, {})
    assert results.models == ["noise", "tuned"]
    for frame in (results.layers, results.curves, results.losses, results.quality, results.controls):
        assert list(frame["model"].unique()) == ["noise", "tuned"]
    assert results.differences.empty
    assert set(results.similarity["other"]) == {"noise", "tuned"}
    assert results.layers["final"].dtype == bool
    assert results.protocols == ["one", "two"]


def test_curves_are_the_mean_of_the_final_points(folder: Path) -> None:
    write(folder, "base", "evaluate/layers", POINTS, LAYERS)
    results = read(folder)
    base = results.curves[results.curves["model"] == "base"]
    assert base[["reading", "layer", "HasAns_f1", "f1"]].to_numpy().tolist() == [
        ["probe", 0, 0, 60],
        ["probe", 1, 40, 67],
        ["head", 1, 55, 70],
    ]
    every_epoch = at_final_rate(results.layers[results.layers["model"] == "base"])
    assert sorted(every_epoch["HasAns_f1"]) == [0, 0, 30, 50, 55, 99]


def test_split_rows() -> None:
    rows = split_rows(curves(POINTS))
    assert list(rows.columns) == ["model", "protocol", "layer", "split", "f1", "exact"]
    assert len(rows) == 2 * 4  # layers and splits: no heads, seeds or epochs
    layer = rows[rows["layer"] == 1].set_index("split")
    assert layer["f1"].to_dict() == {"all": 67.0, "HasAns": 40.0, "NoAns": 85.0, "forced": 45.0}
    assert layer["exact"].to_dict() == {"all": 59.0, "HasAns": 20.0, "NoAns": 85.0, "forced": 40.0}


def test_a_split_without_questions_is_left_out() -> None:
    none = {"total": 4, "NoAns_total": NAN, "NoAns_f1": NAN, "NoAns_exact": NAN, "f1": 30.0, "exact": 20.0}
    frame = curves([point("a", 0, 30, 0, **none)])
    assert list(split_rows(frame)["split"]) == ["all", "HasAns", "forced"]
    assert no_answer_score(frame) == 0


def test_a_model_may_be_called_null_and_may_have_no_losses(folder: Path) -> None:
    (folder / "tuned").rename(folder / "null")
    for file in (folder / "null").rglob("*.*"):
        file.write_text(file.read_text().replace("tuned", "null"))
    write(folder, "null", "evaluate/loss", [], LOSS)
    results = read_results(folder, {"null": ["null"], "base": ["base"]}, {"null": "base"})
    assert list(results.layers["model"].unique()) == ["null", "base"]
    assert list(results.losses["model"].unique()) == ["base"]


@pytest.mark.parametrize("table", ["evaluate/intervals", "examine/controls", "compare/differences"])
def test_a_missing_file_or_column_is_named(folder: Path, table: str) -> None:
    path = folder / "tuned" / f"{table}.csv"
    path.write_text("model,layer\ntuned,0\n")
    with pytest.raises(InputError, match=rf"tuned/{table}\.csv: .*column"):
        read(folder)
    path.unlink()
    with pytest.raises(InputError, match=rf"tuned/{table}\.csv: .*No such file"):
        read(folder)


def test_a_damaged_record_is_named(folder: Path) -> None:
    (folder / "base/evaluate/runs.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"base/evaluate/runs\.json"):
        read(folder)


def test_other_runs_than_those_of_the_study(folder: Path) -> None:
    """A run that was taken out of params.yaml leaves its answers behind: it must not count."""
    with pytest.raises(InputError, match=r"tuned: holds the runs tuned, params.yaml says tuned, tuned-1; remove"):
        read_results(folder, {"tuned": ["tuned", "tuned-1"]}, {})

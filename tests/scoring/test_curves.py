"""Points of a curve by hand: scores, forced answers, the best threshold, the summary, one question's answers."""

import csv
from pathlib import Path

import numpy as np
import pytest

from stages.qa.answering.answers import Answers, Reading, Spans, Texts
from stages.qa.data.squad import Answer, Example
from stages.qa.errors import InputError
from stages.qa.files import read_json
from stages.qa.probing.readouts import Readout
from stages.qa.scoring.curves import COLUMNS, curve_points, write_losses, write_points, write_question, write_summary

READOUT = Readout("adamw", 1, 0.1, 0)


def question(id_: str, gold: str | None) -> Example:
    answers = (Answer(gold, 0),) if gold else ()
    return Example(id_, "?", gold or "x", answers, not answers, article=0, paragraph=0, title="")


EXAMPLES = [question("a", "red fox"), question("b", "owl"), question("c", None), question("d", None)]


def answers(texts: list[list[str]], margins: list[list[float]]) -> Answers:
    """Readings at layers 0, 1, ...; a margin is span score - null score."""
    score = np.array(margins, dtype=np.float32)
    nothing = np.zeros((*score.shape, 2), dtype=np.int32)
    spans = Spans(chars=nothing, tokens=nothing, score=score, null_score=np.zeros_like(score))
    readings = [Reading("probe", layer, READOUT) for layer in range(len(texts) - 1)] + [Reading("head", 1, None)]
    ids, nll = [example.id for example in EXAMPLES], np.zeros((*score.shape, 2), dtype=np.float32)
    given = Texts.of(zip(*texts, strict=True), score.shape)
    return Answers(readings, ids, given, spans, 0.0, nll=nll, windows=np.ones(len(ids), dtype=np.int32))


GIVEN = answers(
    [["fox", "cat", "x", "x"], ["red fox", "owl", "x", "x"], ["red fox", "owl", "x", "x"]],
    [[1.0, 1.0, -1.0, 1.0], [1.0, -1.0, -3.0, -2.0], [-1.0, -1.0, -1.0, -1.0]],
)


def test_points() -> None:
    first, second, head = curve_points("m", EXAMPLES, {"p": GIVEN})
    assert {name: first[name] for name in ("model", "protocol", "reading", "epoch", "layer")} == {
        "model": "m", "protocol": "p", "reading": "probe", "epoch": 1, "layer": 0
    }  # fmt: skip
    # layer 0: "fox" for "red fox" is F1 2/3; "cat" is wrong; c is refused rightly, d answered wrongly
    assert first["exact"] == 25
    assert first["f1"] == pytest.approx(100 * (2 / 3 + 1) / 4)
    assert first["HasAns_f1"] == pytest.approx(100 / 3)
    assert first["NoAns_f1"] == 50
    assert first["forced_f1"] == pytest.approx(100 / 3)
    # layer 1: b is refused wrongly; a lower threshold would answer it and still refuse c and d
    assert (second["exact"], second["HasAns_exact"], second["NoAns_exact"]) == (75, 50, 100)
    assert second["forced_exact"] == 100
    assert second["best_exact"] == 100
    assert second["best_exact_thresh"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert (head["reading"], head["epoch"], head["exact"]) == ("head", None, 50)


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(InputError, match="m: the answers are not those of this dev file"):
        curve_points("m", EXAMPLES[:3], {"p": GIVEN})


def test_an_absent_group_is_empty_never_0() -> None:
    only = [question(id_, "red fox") for id_ in "abcd"]
    point = curve_points("m", only, {"p": GIVEN})[0]
    assert point["NoAns_f1"] is None
    assert point["NoAns_total"] is None


def test_files(tmp_path: Path) -> None:
    points = curve_points("m", EXAMPLES, {"p": GIVEN})
    write_points(tmp_path / "layers.csv", points)
    with (tmp_path / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["exact"]) for row in rows] == [25, 75, 50]
    write_summary(tmp_path / "m.json", points)
    summary = read_json(tmp_path / "m.json")
    assert (summary["best_layer"], summary["best_exact"], summary["last_exact"], summary["head_exact"]) == (
        1,
        75,
        75,
        50,
    )
    (tmp_path / "in.csv").write_text("layer,loss\n0,1.5\n")
    write_losses(tmp_path / "loss.csv", "m", tmp_path / "in.csv")
    assert (tmp_path / "loss.csv").read_text() == "model,layer,loss\nm,0,1.5\n"


def test_one_question(tmp_path: Path) -> None:
    write_question(tmp_path / "q.csv", "m", "b", EXAMPLES, {"p": GIVEN})
    with (tmp_path / "q.csv").open() as file:
        rows = [(row["reading"], row["layer"], row["answer"]) for row in csv.DictReader(file)]
    assert rows == [("probe", "0", "cat"), ("probe", "1", ""), ("head", "1", "")]
    write_question(tmp_path / "q.csv", "m", None, EXAMPLES, {"p": GIVEN})
    assert len((tmp_path / "q.csv").read_text().splitlines()) == 1
    with pytest.raises(InputError, match="question: no dev question has the id 'z'"):
        write_question(tmp_path / "q.csv", "m", "z", EXAMPLES, {"p": GIVEN})

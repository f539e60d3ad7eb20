"""Scores of single questions by hand, their agreement with the curve's points, and the way to disk and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.qa.errors import IntegrityError
from stages.qa.readings import Reading
from stages.qa.scoring.curves import layer_rows
from stages.qa.scoring.question_scores import (
    ARRAYS,
    load_question_scores,
    points_of,
    save_question_scores,
    score_questions,
)
from tests.scoring.test_curves import EXAMPLES, GIVEN


def test_scores_of_single_questions() -> None:
    scores = score_questions(EXAMPLES, {"run": GIVEN})
    # layer 0: "fox" for "red fox" is F1 2/3; "cat" for "owl"; c is refused rightly, d answered wrongly
    assert scores.f1[0].tolist() == pytest.approx([2 / 3, 0, 1, 0])
    assert scores.exact[0].tolist() == [0, 0, 1, 0]
    assert scores.answered.tolist() == [[True, True, False, True], [True, False, False, False], [False] * 4]
    # layer 1: b is refused, and right where an answer is forced
    assert (scores.exact[1].tolist(), scores.forced_f1[1].tolist()) == ([1, 0, 1, 1], [1, 1, 0, 0])
    assert scores.null_probability[0, 0] == pytest.approx(1 / (1 + np.e))


def test_means_are_the_points_of_the_curve() -> None:
    scores = score_questions(EXAMPLES, {"run": GIVEN})
    answerable = [bool(example.answers) for example in EXAMPLES]
    for row, point in layer_rows("m", EXAMPLES, {"p": {"run": GIVEN}}, "p").iterrows():
        assert 100 * scores.f1[row].mean() == pytest.approx(point["f1"])
        assert 100 * scores.exact[row].mean() == pytest.approx(point["exact"])
        assert 100 * scores.forced_f1[row, answerable].mean() == pytest.approx(point["forced_f1"])


def test_gold_spans_and_earlier_epochs_are_left_out() -> None:
    early, last, head = GIVEN.readings
    early = replace(early, readout=replace(early.readout, epoch=0))
    assert score_questions(EXAMPLES, {"run": replace(GIVEN, readings=[early, last, head])}).readings == [last, head]
    gold = Reading("gold", 1, None)
    assert score_questions(EXAMPLES, {"run": replace(GIVEN, readings=[gold, last, head])}).readings == [last, head]


def test_points_hold_the_rows_of_all_seeds() -> None:
    scores = score_questions(EXAMPLES, {"run": GIVEN})
    first, second, head = scores.readings
    again = replace(second, readout=replace(second.readout, seed=1))
    points = list(
        points_of("m", {"p": replace(scores, readings=[first, second, head, again], runs=["run"] * 4)}, "other")
    )
    assert [rows for _, _, rows in points] == [[0], [1, 3], [2]]
    assert points[1][0] == {"model": "m", "protocol": "p", "headline": False, "reading": "probe", "layer": 1}


def test_to_disk_and_back(tmp_path: Path) -> None:
    scores = score_questions(EXAMPLES, {"run": GIVEN})
    save_question_scores(tmp_path, scores)
    again = load_question_scores(tmp_path)
    assert (again.readings, again.ids, again.texts) == (scores.readings, scores.ids, scores.texts)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name), err_msg=name)
    (tmp_path / "questions.safetensors").write_bytes(b"no")
    with pytest.raises(IntegrityError, match=r"questions\.safetensors"):
        load_question_scores(tmp_path)

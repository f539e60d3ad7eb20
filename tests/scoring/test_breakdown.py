"""Groups by hand, and sums over groups against the totals of the official metric."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stages.qa.data.squad import Answer, Example
from stages.qa.readings import Reading, Readout
from stages.qa.scoring.breakdown import (
    BREAKDOWN,
    GROUPS,
    answer_length,
    answer_position,
    breakdown_rows,
    groups_of,
    paragraph_length,
    question_word,
)
from stages.qa.scoring.curves import layer_rows
from stages.qa.scoring.question_scores import score_questions
from tests.scoring.test_curves import EXAMPLES, GIVEN


def example(question: str = "?", context: str = "abc", *answers: tuple[str, int]) -> Example:
    golds = tuple(Answer(*answer) for answer in answers)
    return Example("id", question, context, golds, not golds, article=0, paragraph=0, title="")


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is it?", "what"),
        ("In WHICH year did he say what he said?", "which"),
        ("Whose was it?", "who"),
        ("To whom?", "who"),
        ("Name the whale.", "other"),
        ("Somehow?", "other"),
        ("How many?", "how"),
        ("Whose fox?", "who"),
        ("In which year?", "which"),
        ("Name it.", "other"),
        ("Somewhat how?", "how"),
    ],
)
def test_question_words(question: str, word: str) -> None:
    assert question_word(example(question)) == word


def test_groups_of_answers_and_paragraphs() -> None:
    assert answer_length(example("?", "x", ("one two three", 0), ("one", 0))) == "1 word"
    assert [answer_length(example("?", "x", ("a " * n, 0))) for n in (2, 3, 5, 6)] == [
        "2 words",
        "3 to 5 words",
        "3 to 5 words",
        "6 words or more",
    ]
    assert [paragraph_length(example("?", "a " * n)) for n in (60, 61, 200, 201)] == [
        "up to 60 words",
        "61 to 100 words",
        "151 to 200 words",
        "over 200 words",
    ]
    assert [answer_position(example("?", "x" * 9, ("x", start))) for start in (2, 3, 6, 99)] == [
        "first third",
        "middle third",
        "last third",
        "last third",
    ]
    assert {answer_length(example()), answer_position(example())} == {"no answer"}


def test_groups_sum_to_the_total() -> None:
    points = layer_rows("m", EXAMPLES, {"p": {"run": GIVEN}}, "p")
    rows = breakdown_rows("m", EXAMPLES, {"p": score_questions(EXAMPLES, {"run": GIVEN})}, "p")
    assert list(rows.columns) == BREAKDOWN
    for _, point in points.iterrows():
        of_point = rows[(rows["reading"] == point["reading"]) & (rows["layer"] == point["layer"])]
        assert set(of_point["breakdown"]) == GROUPS.keys()
        for _, groups in of_point.groupby("breakdown"):
            assert groups["questions"].sum() == point["total"]
            assert groups["answerable"].sum() == point["HasAns_total"]
            assert mean(groups["exact"], groups["questions"]) == pytest.approx(point["exact"], abs=1e-3)
            assert mean(groups["f1"], groups["questions"]) == pytest.approx(point["f1"], abs=1e-3)
            assert mean(groups["forced_f1"], groups["answerable"]) == pytest.approx(point["forced_f1"], abs=1e-3)


def test_questions_settle_where_they_are_right_from_there_on() -> None:
    """In each run and seed alone: two runs of the lens, and two seeds of a probe."""
    rows = [
        ("lens", 1, "one", None, [1, 0, 1, 0]),
        ("lens", 0, "one", None, [1, 1, 0, 0]),
        ("lens", 2, "one", None, [1, 1, 1, 0.5]),
        ("lens", 0, "two", None, [0, 1, 1, 0]),
        ("lens", 1, "two", None, [1, 1, 1, 0]),
        ("lens", 2, "two", None, [1, 1, 0, 0]),
        ("head", 2, "one", None, [0, 0, 0, 0]),
        ("probe", 0, "one", 1, [0, 0, 0, 1]),
        ("probe", 0, "one", 2, [1, 1, 1, 1]),
        ("probe", 1, "one", 2, [0, 0, 0, 0]),
        ("probe", 1, "one", 1, [0, 0, 0, 1]),
    ]
    readings = [Reading(kind, layer, seed and Readout("adamw", 1, 0.1, seed)) for kind, layer, _, seed, _ in rows]
    exact = np.array([right for *_, right in rows], dtype=float)
    scores = score_questions(EXAMPLES, {"run": GIVEN})
    scores = replace(scores, readings=readings, runs=[run for _, _, run, _, _ in rows], exact=exact)
    scores = replace(scores, f1=exact, forced_f1=exact)
    table = (
        breakdown_rows("m", EXAMPLES, {"p": scores}, "p")
        .set_index(["reading", "layer", "group"])
        .sort_index()["settled"]
    )
    settled = {(kind, layer): table[kind, layer, "other"] for kind, layer, *_ in rows}  # all questions
    assert settled == {
        ("lens", 0): 25.0,
        ("lens", 1): 50.0,
        ("lens", 2): 62.5,
        ("head", 2): 0.0,
        ("probe", 0): 12.5,
        ("probe", 1): 12.5,
    }
    assert table["lens", 1].filter(like="word").to_dict() == {"1 word": 50.0, "2 words": 100.0, "up to 60 words": 50.0}


def mean(scores: pd.Series, numbers: pd.Series) -> float:
    """The mean weighted by the numbers of questions; groups without questions have no score."""
    return (scores * numbers).sum() / numbers.sum()


def test_every_real_question_has_one_group(squad_dev: list[Example]) -> None:
    examples = squad_dev
    found = groups_of(examples)
    assert {name: len(labels) for name, labels in found.items()} == dict.fromkeys(GROUPS, len(examples))
    for name, labels in found.items():
        assert set(labels) <= set(GROUPS[name]), name
    for name in ("answer length", "answer position"):
        assert (found[name] == "no answer").sum() == sum(not e.answers for e in examples)
    assert (found["question word"] == "what").sum() > 2000

"""Scores by kind of question. Each breakdown puts every question into one group, so that groups add up to the total."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.data.squad import Example
from stages.qa.scoring.question_scores import POINT, QuestionScores, Scored, points_of

BREAKDOWN = [*POINT, "breakdown", "group", "questions", "answerable", "articles"]
BREAKDOWN += ["exact", "f1", "forced_f1", "settled"]
NO_ANSWER = "no answer"
GROUPS = {  # breakdown -> its groups, in the order of tables and figures
    "question word": ["what", "who", "when", "where", "which", "how", "why", "other"],
    "answer length": ["1 word", "2 words", "3 to 5 words", "6 words or more", NO_ANSWER],
    "paragraph length": ["up to 60 words", "61 to 100 words", "101 to 150 words", "151 to 200 words", "over 200 words"],
    "answer position": ["first third", "middle third", "last third", NO_ANSWER],
}
WORDS = re.compile(r"\b(what|when|where|which|who|whom|whose|how|why)\b", re.IGNORECASE)
ALIKE = {"whom": "who", "whose": "who"}


def breakdown_rows(model: str, examples: Sequence[Example], scored: Scored, headline: str) -> pd.DataFrame:
    """A row of BREAKDOWN for each protocol, reading, layer and group with questions; percent, mean over runs and seeds.

    forced_f1 is that of the group's questions that have an answer; it is missing if none has. settled: the questions
    that are answered exactly right at this layer and at every deeper one.
    """
    groups = groups_of(examples)
    rows = []
    for names, scores, rows_of_point in points_of(model, scored, headline):
        for breakdown, labels in groups.items():
            for group in GROUPS[breakdown]:
                chosen = labels == group
                if chosen.any():
                    place = {"breakdown": breakdown, "group": group}
                    rows.append(names | place | _group_scores(scores, rows_of_point, chosen))
    return pd.DataFrame(rows, columns=BREAKDOWN)


def _group_scores(scores: QuestionScores, rows: list[int], chosen: np.ndarray) -> dict[str, Any]:
    """The columns of numbers. rows: of one reading and layer; chosen (questions,) bool."""
    answerable = chosen & scores.answerable
    result = {name: _percent(getattr(scores, name)[rows], chosen) for name in ("exact", "f1", "settled")}
    result["forced_f1"] = _percent(scores.forced_f1[rows], answerable)
    numbers = {"questions": int(chosen.sum()), "answerable": int(answerable.sum())}
    return numbers | {"articles": len(np.unique(scores.article[chosen]))} | result


def _percent(values: np.ndarray, chosen: np.ndarray) -> float | None:
    """The mean of values (rows, questions) over the rows and the chosen questions; None without a question."""
    return round(100 * float(values.mean(axis=0)[chosen].mean()), 4) if chosen.any() else None


def groups_of(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Breakdown -> the group of each question (of GROUPS)."""
    return {
        "question word": np.array([question_word(example) for example in examples]),
        "answer length": np.array([answer_length(example) for example in examples]),
        "paragraph length": np.array([paragraph_length(example) for example in examples]),
        "answer position": np.array([answer_position(example) for example in examples]),
    }


def question_word(example: Example) -> str:
    """The first question word of the question, wherever it stands (whom and whose count as who)."""
    match = WORDS.search(example.question)
    if match is None:
        return "other"
    word = match[0].lower()
    return ALIKE.get(word, word)


def answer_length(example: Example) -> str:
    """Words between spaces of the shortest gold answer."""
    if not example.answers:
        return NO_ANSWER
    words = min(len(answer.text.split()) for answer in example.answers)
    return GROUPS["answer length"][bisect_left([1, 2, 5], words)]


def paragraph_length(example: Example) -> str:
    """Words between spaces of the context."""
    words = len(example.context.split())
    return GROUPS["paragraph length"][bisect_left([60, 100, 150, 200], words)]


def answer_position(example: Example) -> str:
    """The third of the context's characters in which the first gold answer begins."""
    if not example.answers:
        return NO_ANSWER
    third = 3 * example.answers[0].start // max(len(example.context), 1)
    return GROUPS["answer position"][min(third, 2)]

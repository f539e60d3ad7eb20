"""What each reading of the final curves answered to every question, and how right it was.

This is what pages and statistics read. Final: the last epoch, the first learning rate, every seed; and the
checkpoint's own head.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.qa.answering.answers import Answers, Reading, null_probability, read_readings
from stages.qa.data.squad import Example
from stages.qa.errors import IntegrityError
from stages.qa.files import read_json, read_tensors, refuses_damage, write_json, write_tensors
from stages.qa.metric import question_scores
from stages.qa.scratch import filled


@dataclass(frozen=True)
class QuestionScores:
    """Scores 0 to 1 of every question, not percent; arrays are (readings, questions) unless told otherwise."""

    readings: list[Reading]
    ids: list[str]
    texts: list[list[str]]  # the best span, also where no answer was given
    chars: np.ndarray  # (readings, questions, 2) int32: where it stands in the context; (-1, -1): nowhere
    answered: np.ndarray  # bool: whether the span was given as the answer, else no answer
    null_probability: np.ndarray  # float64
    exact: np.ndarray  # float64, of what was answered
    f1: np.ndarray
    forced_exact: np.ndarray  # float64, of the span, answered or not
    forced_f1: np.ndarray
    start_nll: np.ndarray  # float64, nats (see `likelihood`); NaN where no gold answer has a token
    end_nll: np.ndarray
    answerable: np.ndarray  # (questions,) bool: the question has a gold answer
    article: np.ndarray  # (questions,) int32: equal numbers mean the same article; likewise paragraph
    paragraph: np.ndarray
    windows: np.ndarray  # (questions,) int32: token windows of the question


def score_questions(examples: Sequence[Example], answers: Answers) -> QuestionScores:
    """Score the final readings of `answers` question by question, with the official metric's own scores."""
    rows = final_rows(answers.readings)
    spans, size = answers.spans, (len(rows), len(examples))
    names = ("null_probability", "exact", "f1", "forced_exact", "forced_f1", "start_nll", "end_nll")
    arrays = {name: filled(size, 0, np.float64) for name in names}
    answered = filled(size, 0, np.bool_)
    for place, row in enumerate(rows):
        given, forced = (question_scores(examples, texts(row)) for texts in (answers.final, answers.forced))
        arrays["exact"][place], arrays["f1"][place] = given.exact, given.f1
        arrays["forced_exact"][place], arrays["forced_f1"][place] = forced.exact, forced.f1
        arrays["null_probability"][place] = null_probability(spans, row)
        arrays["start_nll"][place], arrays["end_nll"][place] = answers.nll[row].T
        answered[place] = spans.null_score[row] - spans.score[row] <= answers.null_threshold
    return QuestionScores(
        readings=[answers.readings[row] for row in rows],
        ids=answers.ids,
        texts=[answers.texts[row] for row in rows],
        chars=spans.chars[rows],
        answered=answered,
        answerable=np.array([bool(example.answers) for example in examples]),
        article=np.array([example.article for example in examples], dtype=np.int32),
        paragraph=np.array([example.paragraph for example in examples], dtype=np.int32),
        windows=answers.windows,
        **arrays,
    )


def final_rows(readings: Sequence[Reading]) -> list[int]:
    """Rows of the probes of the last epoch and first learning rate, and of the own head; gold spans are left out."""
    probes = [reading.readout for reading in readings if reading.readout is not None]
    last = max((probe.epoch for probe in probes if probe.epoch is not None), default=None)
    rate = probes[0].learning_rate if probes else None
    return [
        row
        for row, reading in enumerate(readings)
        if reading.kind == "head"
        or (reading.readout and (reading.readout.epoch, reading.readout.learning_rate) == (last, rate))
    ]


ARRAYS = (
    *("chars", "answered", "null_probability", "exact", "f1", "forced_exact", "forced_f1", "start_nll", "end_nll"),
    *("answerable", "article", "paragraph", "windows"),
)


def save_question_scores(folder: Path, scores: QuestionScores) -> None:
    """Write questions.json (readings, ids, texts) and questions.safetensors (the arrays)."""
    unique: dict[str, int] = {}
    places = np.array([[unique.setdefault(text, len(unique)) for text in row] for row in scores.texts], dtype=np.int32)
    tensors = {name: getattr(scores, name) for name in ARRAYS} | {"text": places}
    write_tensors(folder / "questions.safetensors", tensors)
    readings = [asdict(reading) for reading in scores.readings]
    write_json(folder / "questions.json", {"readings": readings, "ids": scores.ids, "texts": list(unique)})


@refuses_damage
def load_question_scores(folder: Path) -> QuestionScores:
    """Read what `save_question_scores` wrote; IntegrityError names the file that is damaged."""
    header = read_json(folder / "questions.json")
    tensors = read_tensors(folder / "questions.safetensors")
    if missing := {*ARRAYS, "text"} - tensors.keys():
        raise IntegrityError(f"{folder}/questions.safetensors: no {min(missing)}; run the evaluate stage again")
    return QuestionScores(
        read_readings(header),
        ids=header["ids"],
        texts=[[header["texts"][place] for place in row.tolist()] for row in tensors["text"]],
        **{name: tensors[name] for name in ARRAYS},
    )

"""What each final reading answers to every question, and how right it is: what intervals and pages are made from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stages.qa.answering.answers import Answers, Texts, null_probability
from stages.qa.data.squad import Example
from stages.qa.files import read_json, read_tensors, refuses_damage, write_json, write_tensors
from stages.qa.metric import question_scores
from stages.qa.readings import Reading, is_final, read_readings


@dataclass(frozen=True)
class QuestionScores:
    """Scores of every question, 0 to 1, not percent. Arrays are (readings, questions) where no other shape is given."""

    readings: list[Reading]
    runs: list[str]  # of each reading: the run that it is read from
    ids: list[str]
    texts: list[list[str]]  # of the best span, also where no answer is given
    chars: np.ndarray  # (readings, questions, 2) int32: where it stands in the context; (-1, -1): nowhere
    answered: np.ndarray  # bool: the span is given as the answer; else no answer is
    null_probability: np.ndarray  # float64
    exact: np.ndarray  # float64, of the answer that is given
    f1: np.ndarray
    forced_f1: np.ndarray  # float64, of the span, whether given or not
    start_nll: np.ndarray  # float64, nats (see `likelihood`); NaN where no gold answer has a token
    end_nll: np.ndarray
    answerable: np.ndarray  # (questions,) bool: the question has a gold answer
    article: np.ndarray  # (questions,) int32: equal numbers mean the same article; likewise paragraph
    paragraph: np.ndarray

    @cached_property
    def settled(self) -> np.ndarray:
        """Whether the answer is exactly right at this layer and at every deeper one of the curve; bool."""
        settled = self.exact == 1
        deeper: dict[Any, np.ndarray] = {}  # curve -> the layers so far
        for row in sorted(range(len(settled)), key=lambda row: -self.readings[row].layer):
            curve = self.readings[row].kind, self.readings[row].readout, self.runs[row]
            settled[row] &= deeper.get(curve, True)
            deeper[curve] = settled[row]
        return settled


ARRAYS = [field.name for field in fields(QuestionScores) if field.type is np.ndarray]
Scored = Mapping[str, QuestionScores]  # protocol -> scores
POINT = ["model", "protocol", "headline", "reading", "layer"]


def score_questions(
    examples: Sequence[Example], answers: Mapping[str, Answers], l2: float | None = None
) -> QuestionScores:
    """Score the final readings (l2: the study's) but for the ceiling, with the official metric's own scores.

    `answers` maps runs to the answers of each under one protocol.
    """
    rows = []
    for run, given in answers.items():
        final = is_final(given.readings, l2)
        rows += [(run, row) for row, reading in enumerate(given.readings) if final[row] and reading.kind != "gold"]
    columns = [_scores_of(examples, answers[run], row) for run, row in rows]
    arrays = {name: np.array([scores[name] for scores in columns]) for name in columns[0]}
    return QuestionScores(
        readings=[answers[run].readings[row] for run, row in rows],
        runs=[run for run, _ in rows],
        ids=[example.id for example in examples],
        texts=[answers[run].texts[row] for run, row in rows],
        **arrays,
        answerable=np.array([bool(example.answers) for example in examples]),
        article=np.array([example.article for example in examples], dtype=np.int32),
        paragraph=np.array([example.paragraph for example in examples], dtype=np.int32),
    )


def _scores_of(examples: Sequence[Example], answers: Answers, row: int) -> dict[str, np.ndarray]:
    """The arrays of one reading, without their first axis."""
    given, forced = question_scores(examples, answers.final(row)), question_scores(examples, answers.forced(row))
    spans = answers.spans
    return {
        "chars": spans.chars[row],
        "answered": spans.null_score[row] - spans.score[row] <= answers.null_threshold,
        "null_probability": null_probability(spans, row),
        "exact": given.exact,
        "f1": given.f1,
        "forced_f1": forced.f1,
        "start_nll": answers.nll[row, :, 0].astype(np.float64),
        "end_nll": answers.nll[row, :, 1].astype(np.float64),
    }


def save_question_scores(folder: Path, scores: QuestionScores) -> None:
    """Write questions.json (readings, ids, each text once) and questions.safetensors (the arrays)."""
    texts = Texts.of(zip(*scores.texts, strict=True), scores.exact.shape)
    tensors = {name: getattr(scores, name) for name in ARRAYS}
    write_tensors(folder / "questions.safetensors", tensors | {"text": texts.places})
    header = {"readings": [asdict(reading) for reading in scores.readings], "runs": scores.runs, "ids": scores.ids}
    write_json(folder / "questions.json", header | {"texts": texts.unique})


def rows_of(scores: QuestionScores, kind: str, layer: int, run: str | None = None) -> list[int]:
    """The rows of one kind of reading on one layer, of one run or of all."""
    return [
        row
        for row, reading in enumerate(scores.readings)
        if (reading.kind, reading.layer) == (kind, layer) and run in (None, scores.runs[row])
    ]


def points_of(model: str, scored: Scored, headline: str) -> Iterator[tuple[dict[str, Any], QuestionScores, list[int]]]:
    """The points of the final curves of `model`: a kind of reading and a layer, under each protocol.

    Of each the columns POINT of a table, the scores of its protocol, and its rows of these: one for each run and seed.
    """
    for protocol, scores in scored.items():
        names = {"model": model, "protocol": protocol, "headline": protocol == headline}
        for kind, layer in dict.fromkeys((reading.kind, reading.layer) for reading in scores.readings):
            yield names | {"reading": kind, "layer": layer}, scores, rows_of(scores, kind, layer)


@refuses_damage
def load_question_scores(folder: Path) -> QuestionScores:
    """Read what `save_question_scores` wrote. IntegrityError names the file that is damaged."""
    header = read_json(folder / "questions.json")
    tensors = read_tensors(folder / "questions.safetensors")
    unique = header["texts"]
    return QuestionScores(
        readings=read_readings(header),
        runs=header["runs"],
        ids=header["ids"],
        texts=[[unique[place] for place in places] for places in tensors["text"].tolist()],
        **{name: tensors[name] for name in ARRAYS},
    )

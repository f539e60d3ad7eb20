"""Answers of every probe on every layer, of a checkpoint's own head, and of the gold spans; in and out of a folder."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.qa.files import read_json, read_tensors, refuses_damage, write_json, write_tensors
from stages.qa.readings import Reading, read_readings


@dataclass(frozen=True)
class Spans:
    """The best span of each question under each reading (a probe, a layer), and the score of no answer against it."""

    chars: np.ndarray  # (readings, questions, 2) int32: characters of the context; (-1, -1): the context has no token
    tokens: np.ndarray  # (readings, questions, 2) int64: first and last token, as places in Windows.input_ids
    score: np.ndarray  # (readings, questions) float32: start + end logit of the span; -inf without a span
    null_score: np.ndarray  # (readings, questions) float32: start + end logit of no answer


def null_probability(spans: Spans, reading: int) -> np.ndarray:
    """Probability of no answer against the best span, (questions,) float64; 0.5 where they score the same."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(spans.score[reading].astype(np.float64) - spans.null_score[reading]))


@dataclass(frozen=True)
class Texts:
    """The text of every reading and question. Readings agree on most of them: each is kept once."""

    places: np.ndarray  # (readings, questions) int32: in `unique`
    unique: list[str]

    @classmethod
    def of(cls, questions: Iterable[Sequence[str]], size: tuple[int, int]) -> "Texts":
        """From the texts of all readings for one question after the other; size: (readings, questions)."""
        places = np.zeros(size, np.int32)
        unique: dict[str, int] = {}
        for question, texts in enumerate(questions):
            places[:, question] = [unique.setdefault(text, len(unique)) for text in texts]
        return cls(places, list(unique))

    def __getitem__(self, reading: int) -> list[str]:
        return [self.unique[place] for place in self.places[reading].tolist()]


@dataclass(frozen=True)
class Answers:
    """Answers of several readings to the same questions."""

    readings: list[Reading]
    ids: list[str]  # of the questions
    texts: Texts  # of the best span, also where no answer scores higher
    spans: Spans
    null_threshold: float
    nll: np.ndarray  # (readings, questions, 2) float32, nats: of the gold start and end; NaN where there is none

    def final(self, reading: int) -> dict[str, str]:
        """Question id -> answer, "" where the null score is above the best span's by more than the threshold."""
        refused = self.spans.null_score[reading] - self.spans.score[reading] > self.null_threshold
        return {id_: "" if no else text for id_, text, no in zip(self.ids, self.texts[reading], refused, strict=True)}

    def forced(self, reading: int) -> dict[str, str]:
        """Question id -> best span, whatever the null score."""
        return dict(zip(self.ids, self.texts[reading], strict=True))

    def null_probabilities(self, reading: int) -> dict[str, float]:
        """Question id -> probability of no answer against the best span."""
        return dict(zip(self.ids, null_probability(self.spans, reading).tolist(), strict=True))


def save_answers(folder: Path, answers: Answers) -> None:
    """Write everything as arrays, and in the official script's form: one JSON of answers for each layer and epoch.

    Several learning rates or seeds: the official form holds the first of them only.
    """
    tensors = {"text": answers.texts.places, **vars(answers.spans), "nll": answers.nll}
    write_tensors(folder / "answers.safetensors", tensors)
    header = {
        "readings": [asdict(reading) for reading in answers.readings],
        "ids": answers.ids,
        "texts": answers.texts.unique,
        "null_threshold": answers.null_threshold,
    }
    write_json(folder / "answers.json", header)
    first_rows: dict[str, int] = {}
    for row, reading in enumerate(answers.readings):
        first_rows.setdefault(_official_place(reading), row)
    for place, row in first_rows.items():
        write_json(folder / f"{place}.json", answers.final(row))
        write_json(folder / f"{place}_null_probability.json", answers.null_probabilities(row))


def _official_place(reading: Reading) -> str:
    folder: str = reading.kind
    if folder in ("head", "gold"):
        return folder
    if reading.readout:
        epoch, l2 = reading.readout.epoch, reading.readout.l2
        folder = f"l2_{l2:g}" if epoch is None else f"epoch_{epoch}"
    return f"{folder}/layer_{reading.layer:02d}"


@refuses_damage
def load_answers(folder: Path) -> Answers:
    """Read what `save_answers` wrote; IntegrityError names the file that is damaged."""
    header = read_json(folder / "answers.json")
    tensors = read_tensors(folder / "answers.safetensors")
    if tensors["text"].size and not 0 <= tensors["text"].min() <= tensors["text"].max() < len(header["texts"]):
        raise IndexError("texts are missing")
    return Answers(
        read_readings(header),
        ids=header["ids"],
        texts=Texts(tensors["text"], header["texts"]),
        spans=Spans(**{name: tensors[name] for name in ("chars", "tokens", "score", "null_score")}),
        null_threshold=header["null_threshold"],
        nll=tensors["nll"],
    )

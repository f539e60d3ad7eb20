"""What every layer answered to every question, packed for the page's question explorer.

Texts travel as JSON, answers as one block of numbers; both are deflated (RFC 1950), which browsers can undo.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from stages.qa.data.squad import Example
from stages.qa.readings import Reading
from stages.qa.scoring.breakdown import question_word
from stages.qa.scoring.question_scores import QuestionScores, load_question_scores

WORDS = ("what", "who", "when", "where", "which", "why", "how", "other")
ANSWERED, EXACT, FORCED_EXACT = 1, 2, 4  # bits of a cell's flags


@dataclass(frozen=True)
class Packed:
    """Two deflated blocks in base64."""

    texts: str  # JSON of `_questions` and `sets`
    cells: str  # per set of (readings, questions): start, length, then null probability, F1 in percent, flags


def pack(examples: Sequence[Example], scores_dir: Path, models: Sequence[str], protocols: Sequence[str]) -> Packed:
    """Pack the scores of SCORES_DIR/<model>/<protocol>; of several seeds, the first.

    Sets are taken protocol by protocol. A set's cells are little-endian: start and length of the span
    (32 bits), then a byte each: null probability and forced F1 in percent, and flags.
    """
    blocks: list[bytes] = []
    sets: list[dict[str, Any]] = []
    for protocol, model in product(protocols, models):
        scores = load_question_scores(scores_dir / model / protocol)
        rows = first_seed(scores.readings)
        readings = [scores.readings[row] for row in rows]
        layers = [reading.layer if reading.kind == "probe" else reading.kind for reading in readings]
        texts = _other_texts(examples, scores, rows)
        sets.append({"model": model, "protocol": protocol, "layers": layers, "texts": texts})
        blocks.append(_cells(scores, rows))
    text = json.dumps(_questions(examples) | {"sets": sets}, separators=(",", ":"), allow_nan=False)
    return Packed(deflate(text.encode()), deflate(b"".join(blocks)))


def deflate(data: bytes) -> str:
    """zlib's form of deflate, in base64."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def first_seed(readings: Sequence[Reading]) -> list[int]:
    """Rows of the first probe of each layer, by layer, then the own head."""
    rows: dict[tuple[bool, int], int] = {}
    for row, reading in enumerate(readings):
        if reading.kind in ("probe", "head"):
            rows.setdefault((reading.kind != "probe", reading.layer), row)
    return [rows[key] for key in sorted(rows)]


def _questions(examples: Sequence[Example]) -> dict[str, Any]:
    """Columns of the questions; a gold answer is [start, length], or its text where the context has another there."""
    contexts: dict[str, int] = {}
    titles: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in ("ids", "questions", "context", "title", "word", "golds")}
    for example in examples:
        golds: list[Any] = []
        for answer in dict.fromkeys(example.answers):
            stands_there = answer.text and example.context.startswith(answer.text, answer.start)
            golds.append([answer.start, len(answer.text)] if stands_there else answer.text)
        columns["ids"].append(example.id)
        columns["questions"].append(example.question)
        columns["context"].append(contexts.setdefault(example.context, len(contexts)))
        columns["title"].append(titles.setdefault(example.title.replace("_", " "), len(titles)))
        columns["word"].append(WORDS.index(question_word(example)))
        columns["golds"].append(golds)
    return columns | {"contexts": list(contexts), "titles": list(titles), "words": WORDS}


def _other_texts(examples: Sequence[Example], scores: QuestionScores, rows: Sequence[int]) -> list[Any]:
    """[cell, text] of each answer that is not the slice of its context, but for case."""
    texts = []
    for place, row in enumerate(rows):
        for question, example in enumerate(examples):
            start, end = scores.chars[row, question].tolist()
            slice_ = example.context[start:end] if start >= 0 else ""
            text = scores.texts[row][question]
            if text.casefold() != slice_.casefold():
                texts.append([place * len(examples) + question, text])
    return texts


def _cells(scores: QuestionScores, rows: Sequence[int]) -> bytes:
    """The block of one set."""
    start, end = np.moveaxis(np.maximum(scores.chars[rows], 0), -1, 0)
    flags = ANSWERED * scores.answered[rows] + EXACT * (scores.exact[rows] == 1)
    flags = flags + FORCED_EXACT * (scores.forced_exact[rows] == 1)
    parts = [start.astype("<u4"), (end - start).astype("<u4")]
    parts += [np.rint(100 * part[rows]).astype(np.uint8) for part in (scores.null_probability, scores.forced_f1)]
    return b"".join(part.tobytes() for part in [*parts, flags.astype(np.uint8)])

"""The data inside the page: the numbers of its charts, and what every layer answered to every question.

The charts' rows are JSON, under named columns, missing values null. Of the answers, texts travel as JSON and the rest
as one block of numbers; both are deflated (RFC 1950), which browsers can undo.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.data.squad import Example
from stages.qa.readings import Reading
from stages.qa.report.charts import Chart
from stages.qa.report.probing_charts import similarity_rows
from stages.qa.report.results import (
    Results,
    at_final_rate,
    mean_of_runs,
    no_answer_score,
    probes_and_heads,
    probes_of,
    single_runs,
)
from stages.qa.scoring.breakdown import question_word
from stages.qa.scoring.question_scores import QuestionScores, load_question_scores

METRICS = ["f1", "exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact", "forced_f1", "forced_exact"]
POINT = ["model", "protocol", "reading", "epoch", "layer"]
INTERVALS = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]
SPLITS = {"all": "", "HasAns": "HasAns_", "NoAns": "NoAns_", "forced": "forced_"}  # split -> prefix of its columns
WORDS = ("what", "who", "when", "where", "which", "why", "how", "other")
ANSWERED, EXACT = 1, 2  # bits of a cell's flags


def chart_data(
    results: Results,
    charts: Mapping[str, Chart],
    ladder: pd.DataFrame,
    kinds: Mapping[str, str],
    start: str,
    confidence: float,
) -> dict[str, Any]:
    """All that the page draws: the curves that the reader's choices select, `charts`, the ladder and the similarity.

    ladder: of `findings.ladder`. kinds: model -> what it is. start: the metric that is shown first. confidence: of the
    intervals, a share.
    """
    return {
        "models": results.models,
        "kinds": kinds,
        "start": start,
        "protocols": results.protocols,
        "no_answer": round(no_answer_score(results.layers), 4),
        "runs": records(single_runs(results.layers)[["model", "protocol", "layer", "single", *METRICS]]),
        "curves": curve_rows(results.layers),
        "ladder": records(ladder),
        "confidence": round(100 * confidence, 4),
        "intervals": records(probes_and_heads(results.intervals)[INTERVALS]),
        "panels": {name: panels(chart) for name, chart in charts.items()},
        "similarity": records(similarity_rows(results)),
    }


def panels(chart: Chart) -> dict[str, Any]:
    """One chart."""
    return {
        "caption": chart.caption,
        "x": chart.x,
        "y": chart.y,
        "lines": chart.line_names(),
        "panels": chart.panel_names(),
        "across": chart.across,
        "levels": [[panel, label, round(float(value), 4)] for panel, label, value in chart.levels],
        **records(chart.points().drop(columns="single")),
    }


def curve_rows(layers: pd.DataFrame) -> dict[str, Any]:
    """Every epoch at the final learning rate: mean over runs and seeds."""
    return records(mean_of_runs(at_final_rate(probes_and_heads(layers)), POINT, METRICS))


def split_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """Columns model, protocol, layer, split (of SPLITS), f1, exact: a row per point of the probes' final curves.

    No rows for a split without questions. For `dvc plots`.
    """
    parts = []
    for split, prefix in SPLITS.items():
        names = {f"{prefix}f1": "f1", f"{prefix}exact": "exact"}
        part = probes_of(curves)[["model", "protocol", "layer", *names]].rename(columns=names)
        part.insert(3, "split", split)
        parts.append(part.dropna(subset=["f1"]))
    return pd.concat(parts, ignore_index=True)


def records(frame: pd.DataFrame) -> dict[str, Any]:
    """Column names, and rows of values; numbers with four decimals."""
    rounded = frame.round(4).astype(object)
    return {"columns": list(frame.columns), "rows": rounded.where(frame.notna(), None).to_numpy().tolist()}


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
    parts = [start.astype("<u4"), (end - start).astype("<u4")]
    parts += [np.rint(100 * part[rows]).astype(np.uint8) for part in (scores.null_probability, scores.forced_f1)]
    return b"".join(part.tobytes() for part in [*parts, flags.astype(np.uint8)])

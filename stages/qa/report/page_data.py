"""The data inside the page: the numbers of its charts, and what every layer answered to every question.

All of it is JSON, under named columns, missing values null. The answers are deflated (RFC 1950), which browsers undo.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.data.squad import Example
from stages.qa.report.charts import Chart
from stages.qa.report.probing_charts import similarity_rows
from stages.qa.report.results import Results, at_final_rate, mean_of_runs, no_answer_score, of_readings, single_runs
from stages.qa.scoring.breakdown import GROUPS, question_word
from stages.qa.scoring.question_scores import QuestionScores, load_question_scores

METRICS = ["f1", "exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact", "forced_f1", "forced_exact"]
POINT = ["model", "protocol", "reading", "epoch", "layer"]
INTERVALS = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]
SPLITS = {"all": "", "HasAns": "HasAns_", "NoAns": "NoAns_", "forced": "forced_"}  # split -> prefix of its columns


def chart_data(
    results: Results,
    charts: Mapping[str, Chart],
    ladder: pd.DataFrame,
    kinds: Mapping[str, str],
    start: str,
    confidence: float,
) -> dict[str, Any]:
    """All that the page draws: the curves that the reader's choices select, `charts`, the ladder and the similarity.

    Of the curves, every epoch at the final learning rate, mean over runs and seeds. start: the metric shown first.
    """
    points = of_readings(results.layers, "probe", "head")
    return {
        "models": results.models,
        "kinds": kinds,
        "start": start,
        "protocols": results.protocols,
        "no_answer": round(no_answer_score(results.layers), 4),
        "runs": records(single_runs(results.layers)[["model", "protocol", "layer", "single", *METRICS]]),
        "curves": records(mean_of_runs(at_final_rate(points), POINT, METRICS)),
        "ladder": records(ladder),
        "confidence": round(100 * confidence, 4),
        "intervals": records(of_readings(results.intervals, "probe", "head")[INTERVALS]),
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


def split_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """Columns model, protocol, layer, split (of SPLITS, if it has questions), f1, exact of the probes' final curves."""
    probes, parts = of_readings(curves, "probe"), []
    for split, prefix in SPLITS.items():
        scores = {name: probes[f"{prefix}{name}"] for name in ("f1", "exact")}
        parts.append(probes[["model", "protocol", "layer"]].assign(split=split, **scores))
    return pd.concat(parts, ignore_index=True).dropna(subset=["f1"])


def records(frame: pd.DataFrame) -> dict[str, Any]:
    """Column names, and rows of values; numbers with four decimals."""
    rounded = frame.round(4).astype(object)
    return {"columns": list(frame.columns), "rows": rounded.where(frame.notna(), None).to_numpy().tolist()}


def pack(examples: Sequence[Example], scores_dir: Path, models: Sequence[str], protocols: Sequence[str]) -> str:
    """The questions, and the answers in SCORES_DIR/<model>/<protocol>: JSON, deflated, in base64."""
    sets = []
    for protocol, model in product(protocols, models):
        scores = load_question_scores(scores_dir / model / protocol)
        sets.append({"model": model, "protocol": protocol} | _answers(examples, scores))
    text = json.dumps(_questions(examples) | {"sets": sets}, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _questions(examples: Sequence[Example]) -> dict[str, Any]:
    """Columns of the questions; a gold answer is [start, length], or its text where the context has another there."""
    places: dict[str, int] = {}  # context -> its place
    golds: list[list[Any]] = []
    for example in examples:
        places.setdefault(example.context, len(places))
        golds.append([])
        for answer in dict.fromkeys(example.answers):
            stands_there = answer.text and example.context.startswith(answer.text, answer.start)
            golds[-1].append([answer.start, len(answer.text)] if stands_there else answer.text)
    return {
        "ids": [example.id for example in examples],
        "questions": [example.question for example in examples],
        "titles": [example.title.replace("_", " ") for example in examples],
        "word": [question_word(example) for example in examples],
        "words": GROUPS["question word"],
        "golds": golds,
        "context": [places[example.context] for example in examples],
        "contexts": list(places),
    }


def _answers(examples: Sequence[Example], scores: QuestionScores) -> dict[str, Any]:
    """Columns of the answers to all questions, one reading after the other; of several seeds, the first.

    nothing and f1: null probability and forced F1, in percent. texts: [cell, text] of each answer that is not the slice
    of its context, but for case.
    """
    first: dict[int | str, int] = {}  # layer, or "head" -> row
    for row, reading in enumerate(scores.readings):
        if reading.kind in ("probe", "head"):
            first.setdefault(reading.layer if reading.kind == "probe" else "head", row)
    rows = list(first.values())
    start, end = np.moveaxis(np.maximum(scores.chars[rows], 0), -1, 0)
    columns = {
        "start": start,
        "length": end - start,
        "nothing": np.rint(100 * scores.null_probability[rows]),
        "f1": np.rint(100 * scores.forced_f1[rows]),
        "answered": scores.answered[rows],
        "right": scores.exact[rows] == 1,
    }
    texts = []
    for place, row in enumerate(rows):
        for question, example in enumerate(examples):
            text, (begin, stop) = scores.texts[row][question], scores.chars[row, question].tolist()
            if text.casefold() != example.context[max(begin, 0) : max(stop, 0)].casefold():
                texts.append([place * len(examples) + question, text])
    numbers = {name: column.ravel().astype(int).tolist() for name, column in columns.items()}
    return {"layers": list(first), **numbers, "texts": texts}

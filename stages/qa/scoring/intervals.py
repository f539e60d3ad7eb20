"""Intervals of the final curves of a model, and of paired differences between curves; all in percent.

A point of a curve is the mean over the seeds. Intervals are about the questions alone: other seeds, another fine-tuning
run or another training set would make them wider.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.errors import InputError
from stages.qa.scoring.bootstrap import Unit, bounds, draw, unit_of
from stages.qa.scoring.question_scores import QuestionScores, Scored, seeds_of
from stages.qa.sections import Statistics

# metric -> the array of QuestionScores that it averages, and over which questions
METRICS = {
    "exact": ("exact", "all"),
    "f1": ("f1", "all"),
    "HasAns_f1": ("f1", "HasAns"),
    "NoAns_f1": ("f1", "NoAns"),
    "forced_f1": ("forced_f1", "HasAns"),
}
BOUNDS = ["estimate", "low", "high", "band_low", "band_high"]
BASIS = ["questions", "clusters", "unit"]
INTERVALS = ["model", "protocol", "headline", "reading", "layer", "metric", *BOUNDS, *BASIS]
DIFFERENCES = ["comparison", "model", "less", "protocol", "headline", "layer", "metric", *BOUNDS, *BASIS]
STEP, FINETUNING = "layer less the one below", "fine-tuned less pretrained"
Row = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """One metric of a model's layers, summed over the questions of each cluster."""

    metric: str
    unit: Unit  # of the clusters
    sums: dict[int, np.ndarray]  # layer -> (clusters,) float64
    questions: np.ndarray  # (clusters,) float64: number of questions


def interval_rows(model: str, scored: Scored, headline: str, settings: Statistics) -> pd.DataFrame:
    """A row of INTERVALS for each protocol, reading, metric and layer. A metric without questions has no rows."""
    rows = []
    for protocol, scores in scored.items():
        names: Row = {"model": model, "protocol": protocol, "headline": protocol == headline}
        for kind in dict.fromkeys(reading.kind for reading in scores.readings):
            for curve in curves_of(scores, kind, settings):
                rows += _rows(names | {"reading": kind}, curve, settings, lowest=0.0)
    return pd.DataFrame(rows, columns=INTERVALS)


def step_rows(model: str, scored: Scored, headline: str, settings: Statistics) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer of the probes less the layer below it."""
    return difference_rows(model, scored, model, scored, headline, settings, comparison=STEP, down=1)


def difference_rows(
    model: str,
    scored: Scored,
    base: str,
    base_scored: Scored,
    headline: str,
    settings: Statistics,
    *,
    comparison: str = FINETUNING,
    down: int = 0,
) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer of the probes of `model` less the layer `down` below it of `base`.

    Both sides of a difference are resampled together. Layers that the base does not have are left out. InputError if
    the two models answered different questions.
    """
    rows = []
    for protocol, scores in scored.items():
        if base_scored[protocol].ids != scores.ids:
            raise InputError(f"{model} and {base} answered different questions; run predict again")
        names: Row = {"comparison": comparison, "model": model, "less": base}
        names |= {"protocol": protocol, "headline": protocol == headline}
        base_curves = curves_of(base_scored[protocol], "probe", settings)
        for curve, base_curve in zip(curves_of(scores, "probe", settings), base_curves, strict=True):
            rows += _rows(names, less(curve, base_curve, down), settings, lowest=-100.0)
    return pd.DataFrame(rows, columns=DIFFERENCES)


def curves_of(scores: QuestionScores, kind: str, settings: Statistics) -> list[Curve]:
    """The curves of the readings of one kind, for each metric; means over the seeds."""
    groups = {"all": np.ones_like(scores.answerable), "HasAns": scores.answerable, "NoAns": ~scores.answerable}
    seeds = {layer: rows for (reading, layer), rows in sorted(seeds_of(scores).items()) if reading == kind}
    unit = unit_of(len(np.unique(scores.article)), settings.unit)
    _, clusters = np.unique(getattr(scores, unit), return_inverse=True)
    curves = []
    for metric, (array, group) in METRICS.items():
        values, chosen = getattr(scores, array), groups[group]
        sums = {layer: np.bincount(clusters, values[rows].mean(axis=0) * chosen) for layer, rows in seeds.items()}
        curves.append(Curve(metric, unit, sums, np.bincount(clusters, chosen)))
    return curves


def less(curve: Curve, other: Curve, down: int) -> Curve:
    """Each layer of `curve` less the layer `down` below it of `other`. Layers without a partner are left out."""
    sums = {layer: curve.sums[layer] - other.sums[layer - down] for layer in curve.sums if layer - down in other.sums}
    return replace(curve, sums=sums)


@cache
def drawn(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """What `draw` gives, kept for all curves."""
    return draw(clusters, resamples=resamples, seed=seed)


def _rows(names: Row, curve: Curve, settings: Statistics, *, lowest: float) -> list[Row]:
    """A row for each layer, in percent, cut to `lowest` to 100; none for a curve without questions."""
    clusters, questions = len(curve.questions), int(curve.questions.sum())
    if not questions or not curve.sums:
        return []
    counts = drawn(clusters, settings.resamples, settings.seed)
    result = bounds(counts, np.stack(list(curve.sums.values())), curve.questions, confidence=settings.confidence)
    rows = []
    for place, layer in enumerate(curve.sums):
        row = names | {"layer": layer, "metric": curve.metric, "unit": curve.unit}
        row |= {"questions": questions, "clusters": clusters}
        for name in BOUNDS:
            value = 100 * float(getattr(result, name)[place])
            row[name] = None if isnan(value) else round(min(max(value, lowest), 100.0), 4)
        rows.append(row)
    return rows

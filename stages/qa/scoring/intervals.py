"""Intervals of the final curves of a model, and of paired differences between curves; all in percent.

A point of a curve is the mean over the seeds. Intervals are about the questions alone: other seeds, another fine-tuning
run or another training set would make them wider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.config import Statistics
from stages.qa.errors import InputError
from stages.qa.scoring.bootstrap import Unit, bounds, draw, units
from stages.qa.scoring.question_scores import QuestionScores

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

    sums: dict[int, np.ndarray]  # layer -> (clusters,) float64
    questions: np.ndarray  # (clusters,) float64: number of questions


def interval_rows(
    model: str, scored: Mapping[str, QuestionScores], headline: str, settings: Statistics
) -> pd.DataFrame:
    """A row of INTERVALS for each protocol, unit, reading, metric and layer; `scored` maps protocols to scores.

    A metric without questions has no rows.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        kinds = dict.fromkeys(reading.kind for reading in scores.readings)
        for unit in units_of(scores, settings):
            for kind in kinds:
                for metric in METRICS:
                    names = {"model": model, "protocol": protocol, "headline": protocol == headline, "reading": kind}
                    curve = curve_of(scores, kind, metric, unit)
                    rows += _rows(names | {"metric": metric, "unit": unit}, curve, settings, lowest=0.0)
    return pd.DataFrame(rows, columns=INTERVALS)


def step_rows(model: str, scored: Mapping[str, QuestionScores], headline: str, settings: Statistics) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer less the one below it, from the probes of each protocol."""
    rows: list[Row] = []
    for protocol, scores in scored.items():
        names = {"comparison": STEP, "model": model, "less": model}
        names |= {"protocol": protocol, "headline": protocol == headline}
        for unit in units_of(scores, settings):
            for metric in METRICS:
                curve = curve_of(scores, "probe", metric, unit)
                steps = less(curve, curve, down=1)
                rows += _rows(names | {"metric": metric, "unit": unit}, steps, settings, lowest=-100.0)
    return pd.DataFrame(rows, columns=DIFFERENCES)


def difference_rows(
    model: str,
    scored: Mapping[str, QuestionScores],
    base: str,
    base_scored: Mapping[str, QuestionScores],
    headline: str,
    settings: Statistics,
) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer of `model` less that of `base`, from the probes of each protocol.

    Both sides of a difference are resampled together. Layers that the base does not have are left out. InputError if
    the two models answered different questions.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        base_scores = base_scored[protocol]
        if base_scores.ids != scores.ids:
            raise InputError(f"{model} and {base} answered different questions; run predict again")
        names = {"comparison": FINETUNING, "model": model, "less": base}
        names |= {"protocol": protocol, "headline": protocol == headline}
        for unit in units_of(scores, settings):
            for metric in METRICS:
                curve = curve_of(scores, "probe", metric, unit)
                gains = less(curve, curve_of(base_scores, "probe", metric, unit))
                rows += _rows(names | {"metric": metric, "unit": unit}, gains, settings, lowest=-100.0)
    return pd.DataFrame(rows, columns=DIFFERENCES)


def units_of(scores: QuestionScores, settings: Statistics) -> list[Unit]:
    """What the bootstrap draws for these questions."""
    return units(len(np.unique(scores.article)), settings.unit)


def curve_of(scores: QuestionScores, kind: str, metric: str, unit: Unit) -> Curve:
    """`metric` (of METRICS) of the readings of one kind by layer, as a mean over the seeds."""
    _, clusters = np.unique(getattr(scores, unit), return_inverse=True)
    array, group = METRICS[metric]
    groups = {"all": np.ones_like(scores.answerable), "HasAns": scores.answerable, "NoAns": ~scores.answerable}
    chosen = groups[group]
    sums = {}
    for (reading, layer), rows in sorted(scores.points().items()):
        if reading == kind:
            mean = getattr(scores, array)[rows].mean(axis=0)
            sums[layer] = np.bincount(clusters, mean * chosen)
    return Curve(sums, np.bincount(clusters, chosen))


def less(curve: Curve, other: Curve, *, down: int = 0) -> Curve:
    """Each layer of `curve` less the layer `down` below it of `other`. Layers without a partner are left out."""
    sums = {layer: curve.sums[layer] - other.sums[layer - down] for layer in curve.sums if layer - down in other.sums}
    return Curve(sums, curve.questions)


@cache
def _draw(clusters: int, resamples: int, seed: int) -> np.ndarray:
    return draw(clusters, resamples=resamples, seed=seed)


def _rows(names: Row, curve: Curve, settings: Statistics, *, lowest: float) -> list[Row]:
    """A row for each layer, in percent, cut to `lowest` to 100; none for a curve without questions."""
    clusters, questions = len(curve.questions), int(curve.questions.sum())
    if not questions or not curve.sums:
        return []
    counts = _draw(clusters, settings.resamples, settings.seed)
    result = bounds(counts, np.stack(list(curve.sums.values())), curve.questions, confidence=settings.confidence)
    rows = []
    for place, layer in enumerate(curve.sums):
        row = names | {"layer": layer, "questions": questions, "clusters": clusters}
        for name in BOUNDS:
            value = 100 * float(getattr(result, name)[place])
            row[name] = None if isnan(value) else round(min(max(value, lowest), 100.0), 4)
        rows.append(row)
    return rows

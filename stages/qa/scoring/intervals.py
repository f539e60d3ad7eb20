"""Intervals of the final curves of a model, and of paired differences between curves; all in percent.

A curve's value is the mean over its seeds. Intervals are about the questions alone: another seed, another fine-tuning
run or another training set would add to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isnan

import numpy as np

from stages.qa.config import Statistics
from stages.qa.errors import InputError
from stages.qa.scoring.bootstrap import Unit, bounds, cluster_sums, draw, units
from stages.qa.scoring.question_scores import QuestionScores

# metric -> the array of QuestionScores it averages, and over which questions
METRICS = {
    "exact": ("exact", "all"),
    "f1": ("f1", "all"),
    "HasAns_f1": ("f1", "HasAns"),
    "NoAns_f1": ("f1", "NoAns"),
    "forced_f1": ("forced_f1", "HasAns"),
}
_BOUNDS = ("estimate", "low", "high", "band_low", "band_high")
_BASIS = ("questions", "clusters", "unit")
INTERVALS = ("model", "protocol", "reading", "layer", "metric", *_BOUNDS, *_BASIS)
DIFFERENCES = ("comparison", "model", "less", "protocol", "layer", "metric", *_BOUNDS, *_BASIS)
STEP, FINETUNING = "layer less the one below", "fine-tuned less pretrained"
Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Curve:
    """One metric of one model's layers, summed over the questions of each cluster."""

    layers: list[int]
    sums: np.ndarray  # (layers, clusters)
    numbers: np.ndarray  # (clusters,) of questions


def interval_rows(model: str, scored: Mapping[str, QuestionScores], settings: Statistics) -> list[Row]:
    """A row under INTERVALS for every protocol, unit, reading, metric and layer; scored: protocol -> scores.

    Rows of the unit that figures show come first. No rows for a metric without questions.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        for unit in units(len(np.unique(scores.article)), settings.unit):
            for kind in dict.fromkeys(reading.kind for reading in scores.readings):
                for metric in METRICS:
                    curve = curve_of(scores, kind, metric, unit)
                    names: Row = {"model": model, "protocol": protocol, "reading": kind, "metric": metric, "unit": unit}
                    rows += _rows(names, curve, settings, lowest=0.0)
    return rows


def difference_rows(
    scored: Mapping[str, Mapping[str, QuestionScores]], bases: Mapping[str, str], settings: Statistics
) -> list[Row]:
    """A row under DIFFERENCES for each layer less the one below it, and for each fine-tuned model less its base.

    scored: model -> protocol -> scores; bases: fine-tuned model -> pretrained one. Both sides of a difference are
    resampled together. Layers that the base does not have are left out. InputError if two models answered different
    questions.
    """
    rows: list[Row] = []
    for model, by_protocol in scored.items():
        base = scored.get(bases.get(model, ""), {})
        for protocol, scores in by_protocol.items():
            if protocol in base and base[protocol].ids != scores.ids:
                raise InputError(f"{model} and {bases[model]} answered different questions; run predict again")
            for unit in units(len(np.unique(scores.article)), settings.unit):
                for metric in METRICS:
                    names: Row = {"model": model, "protocol": protocol, "metric": metric, "unit": unit}
                    curve = curve_of(scores, "probe", metric, unit)
                    steps = less(curve, curve, {layer: layer - 1 for layer in curve.layers})
                    rows += _rows(names | {"comparison": STEP, "less": model}, steps, settings, lowest=-100.0)
                    if protocol in base:
                        other = curve_of(base[protocol], "probe", metric, unit)
                        gains = less(curve, other, {layer: layer for layer in curve.layers})
                        names |= {"comparison": FINETUNING, "less": bases[model]}
                        rows += _rows(names, gains, settings, lowest=-100.0)
    return rows


def curve_of(scores: QuestionScores, kind: str, metric: str, unit: Unit) -> Curve:
    """`metric` (of METRICS) of the readings `kind` by layer, as a mean over the seeds."""
    _, clusters = np.unique(getattr(scores, unit), return_inverse=True)
    name, group = METRICS[metric]
    chosen = {"all": np.ones_like(scores.answerable), "HasAns": scores.answerable, "NoAns": ~scores.answerable}[group]
    rows: dict[int, list[int]] = {}
    for row, reading in enumerate(scores.readings):
        if reading.kind == kind:
            rows.setdefault(reading.layer, []).append(row)
    layers = sorted(rows)
    values = np.array([getattr(scores, name)[rows[layer]].mean(axis=0) for layer in layers])
    return Curve(layers, cluster_sums(values * chosen, clusters), np.bincount(clusters, chosen))


def less(curve: Curve, other: Curve, pairs: Mapping[int, int]) -> Curve:
    """The difference at each layer of `curve` whose partner (of `pairs`: layer -> layer of `other`) is there."""
    layers = [layer for layer in curve.layers if pairs[layer] in other.layers]
    mine, theirs = ([c.layers.index(x) for x in xs] for c, xs in ((curve, layers), (other, [pairs[x] for x in layers])))
    return Curve(layers, curve.sums[mine] - other.sums[theirs], curve.numbers)


@cache
def _draw(clusters: int, resamples: int, seed: int) -> np.ndarray:
    return draw(clusters, resamples=resamples, seed=seed)


def _rows(names: Row, curve: Curve, settings: Statistics, *, lowest: float) -> Iterator[Row]:
    """Rows in percent, cut to `lowest` to 100; none for a curve without questions or layers."""
    clusters, questions = len(curve.numbers), int(curve.numbers.sum())
    if not questions or not curve.layers:
        return
    counts = _draw(clusters, settings.resamples, settings.seed)
    found = bounds(counts, curve.sums, curve.numbers, confidence=settings.confidence)
    for place, layer in enumerate(curve.layers):
        values = {name: 100 * float(getattr(found, name)[place]) for name in _BOUNDS}
        cut = {
            name: None if isnan(value) else round(min(max(value, lowest), 100.0), 4) for name, value in values.items()
        }
        yield names | {"layer": layer} | cut | {"questions": questions, "clusters": clusters}

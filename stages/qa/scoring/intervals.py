"""Intervals of any function of a model's curves, and their tables: final curves and paired differences, in percent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.errors import InputError
from stages.qa.scoring.bootstrap import Unit, band, interval, resample, unit_of
from stages.qa.scoring.question_scores import QuestionScores, Scored, load_question_scores, rows_of
from stages.qa.sections import Statistics

BOUNDS = ["estimate", "low", "high", "band_low", "band_high"]
BASIS = ["questions", "clusters", "unit", "runs"]
INTERVALS = ["model", "protocol", "headline", "reading", "layer", "metric", *BOUNDS, *BASIS]
DIFFERENCES = ["comparison", "model", "less", "protocol", "headline", "layer", "metric", *BOUNDS, *BASIS]
STEP, FINETUNING = "layer less the one below", "fine-tuned less pretrained"
Row = dict[str, Any]
# metric -> the array of QuestionScores that it averages, and over which questions
METRICS = {
    "exact": ("exact", "all"),
    "f1": ("f1", "all"),
    "HasAns_f1": ("f1", "HasAns"),
    "NoAns_f1": ("f1", "NoAns"),
    "forced_f1": ("forced_f1", "HasAns"),
}


@dataclass(frozen=True)
class Interval:
    """A quantity in percent or points."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """One decimal; without brackets where nothing was resampled."""
        bounds = "" if self.low == self.high else f" ({self.low:.1f} to {self.high:.1f})"
        return f"{self.estimate:.1f}{bounds}"


@dataclass(frozen=True)
class Resampled:
    """The curves of one kind of reading of one model under one protocol: as they are, then in each resample."""

    layers: list[int]
    values: Mapping[str, np.ndarray]  # metric -> (1 + resamples, layers), percent; one row: nothing was resampled
    confidence: float
    questions: Mapping[str, int]  # metric -> how many it is a mean of
    clusters: int  # that were drawn
    unit: Unit  # of the clusters
    runs: int

    def of_layers(self, first: int) -> "Resampled":
        """The layers from `first` on."""
        kept = [place for place, layer in enumerate(self.layers) if layer >= first]
        values = {metric: curve[:, kept] for metric, curve in self.values.items()}
        return replace(self, layers=[self.layers[place] for place in kept], values=values)

    def interval(self, values: np.ndarray, *, lowest: float = -100.0) -> Interval:
        """Of a smooth function of the curves, (1 + resamples,). Bounds are cut to `lowest` (0 for a score) to 100."""
        estimate = float(values[0])
        if len(values) == 1:
            return Interval(estimate, estimate, estimate)
        low, high = interval(values, self.confidence)
        return Interval(estimate, max(float(low), lowest), min(float(high), 100.0))

    def pairs(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`difference_bounds` of a curve with itself; the highest ones are an interval of its range."""
        return difference_bounds(values, values, self.confidence)

    def best_layers(self, metric: str) -> list[int]:
        """The layers that cannot be told from the best one."""
        return [self.layers[place] for place in best_points(self.values[metric], self.confidence)]


def difference_bounds(one: np.ndarray, other: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of each point of a curve less each of another, (points, points), for all pairs at once.

    one, other (1 + resamples, points): resampled together.
    """
    differences = one[:, :, None] - other[:, None, :]
    if len(one) == 1:
        return differences[0], differences[0]
    low, high = band(differences.reshape(len(one), -1), confidence)
    return low.reshape(differences[0].shape), high.reshape(differences[0].shape)


def best_points(values: np.ndarray, confidence: float) -> np.ndarray:
    """The places of the points of a curve, (1 + resamples, points), that cannot be told from the highest (Hsu 1996)."""
    low, _ = difference_bounds(values, values, confidence)
    return np.flatnonzero(~np.any(low > 0, axis=0))


def highest(
    values: np.ndarray, confidence: float, *, less: np.ndarray | None = None, lowest: float = -100.0
) -> Interval:
    """Of the highest point of a curve, or of that less the highest of the curve `less`.

    values, less (1 + resamples, points): resampled together. The bounds are those of a band over the points, or the
    differences of two, that cannot be told from the highest, cut as in `Resampled.interval`. Percentiles of the highest
    point of each resample would lie too high: the highest of uncertain points does, and that of a resample once more.
    """
    best = values[:, best_points(values, confidence)]
    other = np.zeros((len(values), 1)) if less is None else less[:, best_points(less, confidence)]
    low, high = (bounds.min(axis=1).max() for bounds in difference_bounds(best, other, confidence))
    return Interval(float(best[0].max() - other[0].max()), max(float(low), lowest), min(float(high), 100.0))


def best_gain(clusters: pd.DataFrame, model: str, base: str, settings: Statistics) -> Interval:
    """Forced F1 of the best layer of `model` less that of `base`, in points; their clusters are resampled together.

    clusters: rows under CLUSTERS of one form of the probe.
    """
    curves = {}
    for name in model, base:
        rows = clusters[clusters["model"] == name]
        sums = rows.pivot(index="layer", columns="cluster", values="f1_sum").to_numpy()
        numbers = rows.groupby("cluster")["questions"].first().to_numpy()
        curves[name] = 100 * resample(sums[None], numbers, settings.resamples, seed=settings.seed, key=name)
    return highest(curves[model], settings.confidence, less=curves[base])


Curves = Mapping[tuple[str, str], Resampled]


def load_resampled(folder: Path, models: Sequence[str], protocols: Sequence[str], settings: Statistics) -> Curves:
    """Model and protocol -> the probes' curves from the scores in FOLDER/<model>/<protocol>."""
    return {
        (model, protocol): resampled(model, load_question_scores(folder / model / protocol), "probe", settings)
        for model, protocol in product(models, protocols)
    }


def all_resampled(model: str, scored: Scored, settings: Statistics) -> Curves:
    """Protocol and kind of reading -> curve; that of the probes is there even if no layer was probed."""
    return {
        (protocol, kind): resampled(model, scores, kind, settings)
        for protocol, scores in scored.items()
        for kind in dict.fromkeys(["probe", *(reading.kind for reading in scores.readings)])
    }


def resampled(model: str, scores: QuestionScores, kind: str, settings: Statistics) -> Resampled:
    """The curves of the readings of one kind, without the metrics that have no questions; perhaps without layers.

    A run's score is the mean over the seeds of its probes. With one article and paragraph there is no resample.
    """
    groups = {"all": np.ones_like(scores.answerable), "HasAns": scores.answerable, "NoAns": ~scores.answerable}
    unit = unit_of(len(np.unique(scores.article)), settings.unit)
    _, clusters = np.unique(getattr(scores, unit), return_inverse=True)
    layers = sorted({reading.layer for reading in scores.readings if reading.kind == kind})
    runs = list(dict.fromkeys(scores.runs))
    count = int(clusters.max()) + 1
    values, questions = {}, {}
    for metric, (array, group) in METRICS.items():
        chosen = groups[group]
        sums = np.empty((len(runs), len(layers), count))
        for run, place in np.ndindex(sums.shape[:2]):
            rows = rows_of(scores, kind, layers[place], runs[run])
            sums[run, place] = np.bincount(clusters, getattr(scores, array)[rows].mean(axis=0) * chosen)
        if layers and chosen.any():
            numbers = np.bincount(clusters, chosen)
            values[metric] = 100 * resample(sums, numbers, settings.resamples, seed=settings.seed, key=model)
            questions[metric] = int(chosen.sum())
    return Resampled(layers, values, settings.confidence, questions, count, unit, len(runs))


def interval_rows(model: str, curves: Curves, headline: str) -> pd.DataFrame:
    """A row of INTERVALS for each protocol, reading, metric and layer. A metric without questions has no rows."""
    rows: list[Row] = []
    for (protocol, kind), curve in curves.items():
        names = {"model": model, "protocol": protocol, "headline": protocol == headline, "reading": kind}
        rows += _rows(names, curve, curve.layers, curve.values, lowest=0.0)
    return pd.DataFrame(rows, columns=INTERVALS)


def step_rows(model: str, curves: Curves, headline: str) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer of the probes less the layer below it."""
    rows: list[Row] = []
    for (protocol, kind), curve in curves.items():
        if kind == "probe":
            names = {"protocol": protocol, "headline": protocol == headline}
            steps = {metric: np.diff(values, axis=1) for metric, values in curve.values.items()}
            rows += _rows(names, curve, curve.layers[1:], steps)
    return pd.DataFrame(rows, columns=DIFFERENCES).assign(comparison=STEP, model=model, less=model)


def difference_rows(
    model: str, scored: Scored, base: str, base_scored: Scored, headline: str, settings: Statistics
) -> pd.DataFrame:
    """A row of DIFFERENCES for each layer of the probes of `model` less the same layer of `base`.

    Both sides of a difference are resampled together. Layers that only one of them has are left out. InputError if the
    two models answered different questions.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        if base_scored[protocol].ids != scores.ids:
            raise InputError(f"{model} and {base} answered different questions; run predict again")
        names = {"protocol": protocol, "headline": protocol == headline}
        curve = resampled(model, scores, "probe", settings)
        less = resampled(base, base_scored[protocol], "probe", settings)
        common = slice(min(len(curve.layers), len(less.layers)))
        differences = {name: values[:, common] - less.values[name][:, common] for name, values in curve.values.items()}
        rows += _rows(names, curve, curve.layers[common], differences)
    return pd.DataFrame(rows, columns=DIFFERENCES).assign(comparison=FINETUNING, model=model, less=base)


def _rows(
    names: Row, curve: Resampled, layers: list[int], values: Mapping[str, np.ndarray], *, lowest: float = -100.0
) -> Iterator[Row]:
    """A row for each metric of `values` and layer, (1 + resamples, layers); bounds are cut to `lowest` to 100."""
    for metric, points in values.items():
        row = {"questions": curve.questions[metric], "clusters": curve.clusters, "unit": curve.unit, "runs": curve.runs}
        columns = [points[0], *interval(points, curve.confidence), *band(points, curve.confidence)]
        for layer, bounds in zip(layers, np.clip(columns, lowest, 100.0).round(4).T, strict=True):
            yield names | {"layer": layer, "metric": metric} | row | dict(zip(BOUNDS, bounds.tolist(), strict=True))

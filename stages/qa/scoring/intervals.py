"""Tables of intervals: of the final curves of a model, and of paired differences between curves; all in percent.

A point of a curve is the mean over runs and seeds. With one run, intervals are about the questions alone: another
training would differ by an unknown amount.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.errors import InputError
from stages.qa.scoring.bootstrap import band, interval
from stages.qa.scoring.question_scores import Scored
from stages.qa.scoring.resampling import Curves, Resampled, resampled
from stages.qa.sections import Statistics

BOUNDS = ["estimate", "low", "high", "band_low", "band_high"]
BASIS = ["questions", "clusters", "unit", "runs"]
INTERVALS = ["model", "protocol", "headline", "reading", "layer", "metric", *BOUNDS, *BASIS]
DIFFERENCES = ["comparison", "model", "less", "protocol", "headline", "layer", "metric", *BOUNDS, *BASIS]
STEP, FINETUNING = "layer less the one below", "fine-tuned less pretrained"
Row = dict[str, Any]


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
            names: Row = {"comparison": STEP, "model": model, "less": model}
            names |= {"protocol": protocol, "headline": protocol == headline}
            steps = {metric: np.diff(values, axis=1) for metric, values in curve.values.items()}
            rows += _rows(names, curve, curve.layers[1:], steps)
    return pd.DataFrame(rows, columns=DIFFERENCES)


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
        names: Row = {"comparison": FINETUNING, "model": model, "less": base}
        names |= {"protocol": protocol, "headline": protocol == headline}
        curve = resampled(model, scores, "probe", settings)
        base_curve = resampled(base, base_scored[protocol], "probe", settings)
        common = min(len(curve.layers), len(base_curve.layers))
        differences = {
            metric: values[:, :common] - base_curve.values[metric][:, :common]
            for metric, values in curve.values.items()
        }
        rows += _rows(names, curve, curve.layers[:common], differences)
    return pd.DataFrame(rows, columns=DIFFERENCES)


def _rows(
    names: Row, curve: Resampled, layers: list[int], values: Mapping[str, np.ndarray], *, lowest: float = -100.0
) -> Iterator[Row]:
    """A row for each metric of `values` and layer, (1 + resamples, layers); bounds are cut to `lowest` to 100."""
    for metric, points in values.items():
        basis: Row = {"questions": curve.questions[metric], "clusters": curve.clusters}
        basis |= {"unit": curve.unit, "runs": curve.runs}
        columns = [points[0], *interval(points, curve.confidence), *band(points, curve.confidence)]
        for layer, bounds in zip(layers, np.clip(columns, lowest, 100.0).round(4).T, strict=True):
            yield names | {"layer": layer, "metric": metric} | basis | dict(zip(BOUNDS, bounds.tolist(), strict=True))

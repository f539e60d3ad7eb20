"""The study's answer in a few sentences, its numbers computed from the scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from stages.qa.report.findings import final_points
from stages.qa.report.lineage import Lineage
from stages.qa.report.tables import no_answer_score, protocols_of


@dataclass(frozen=True)
class Headline:
    """One sentence that answers the question, and those that qualify it."""

    answer: str
    notes: list[str]
    metric: str  # column of the score frame that the answer is about


def headline(frame: pd.DataFrame, family: Lineage, intervals: pd.DataFrame | None) -> Headline:
    """Fine-tuned against pretrained, under the first protocol, at the layer where each is highest.

    With an answer forced where there are questions with answers, else over all. Without such a pair, the first model
    alone. intervals: see `page_data.INTERVALS`.
    """
    points = final_points(frame[frame["reading"] == "probe"])
    points = points[points["protocol"] == protocols_of(frame)[0]]
    forced = bool(points["forced_f1"].notna().all())
    metric = "forced_f1" if forced else "f1"
    condition = " with an answer forced" if forced else ""
    curves = {model: rows.sort_values("layer") for model, rows in points.groupby("model", sort=False)}
    pairs = [(model, family.bases[model]) for model in curves if family.bases.get(model) in curves]
    model, base = pairs[0] if pairs else (next(iter(curves)), None)
    tuned = _peak(curves[model], metric)
    own = f"{model} peaks at {tuned[metric]:.1f}{_interval(intervals, tuned, metric)}"
    own += f" at layer {_of(tuned, curves[model])}"
    if base is None:
        answer = f"F1 of {own}{condition}."
    else:
        other = _peak(curves[base], metric)
        gap = tuned[metric] - other[metric]
        rest = f"pretrained {base} at {other[metric]:.1f}{_interval(intervals, other, metric)}"
        rest += f" at layer {other['layer']:g}"
        if (twin := family.twins.get(base)) in curves:
            rest += f", random weights at {_peak(curves[twin], metric)[metric]:.1f}"
        verb = f"adds {gap:.1f} points of F1" if gap >= 0 else f"takes {-gap:.1f} points of F1 away"
        answer = f"Fine-tuning {verb}{condition}: {own}, {rest}."
    notes = [_depth(model, curves[model], metric)]
    if base is not None:
        low, high = curves[base][metric].min(), curves[base][metric].max()
        notes.append(f"The curve of {base} spans {high - low:.1f} points, from {low:.1f} to {high:.1f}.")
    notes.append(_overall(curves, model, base, no_answer_score(frame)))
    if len(pairs) > 1:
        notes.append(f"{len(pairs)} pairs of a fine-tuned and a pretrained model were run; this is the first.")
    return Headline(answer, notes, metric)


def _peak(curve: pd.DataFrame, metric: str) -> pd.Series:
    return curve.loc[curve[metric].idxmax()]  # the shallowest of equals


def _of(point: pd.Series, curve: pd.DataFrame) -> str:
    return f"{point['layer']:g} of {curve['layer'].max():g}"


def _depth(model: str, curve: pd.DataFrame, metric: str) -> str:
    """Where the curve climbs most, from one layer to the next."""
    steps = curve[metric].diff()
    if len(curve) < 2 or steps.max() <= 0:
        return f"{model} does not rise from any layer to the next."
    after = curve.loc[steps.idxmax()]
    before = curve.loc[curve["layer"] < after["layer"]].iloc[-1]
    return (
        f"{model} climbs most between layers {before['layer']:g} and {after['layer']:g}: "
        f"{before[metric]:.1f} to {after[metric]:.1f}."
    )


def _overall(curves: Mapping[str, pd.DataFrame], model: str, base: str | None, floor: float) -> str:
    best = curves[model]["f1"].max()
    against = "" if base is None else f" against {curves[base]['f1'].max():.1f} of {base}"
    return f'Over all questions: {best:.1f}{against}; always answering "no answer" scores {floor:.1f}.'


def _interval(intervals: pd.DataFrame | None, point: pd.Series, metric: str) -> str:
    if intervals is None:
        return ""
    at = intervals[(intervals["reading"] == "probe") & (intervals["metric"] == metric)]
    for name in ("model", "protocol", "layer"):
        at = at[at[name] == point[name]]
    return f" ({at['low'].iloc[0]:.1f} to {at['high'].iloc[0]:.1f})" if len(at) else ""

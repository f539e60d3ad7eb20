"""The study's answer in a few sentences, its numbers computed from the scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from stages.qa.report.findings import Lineage
from stages.qa.report.html import MISSING, layer_text, percent
from stages.qa.report.results import no_answer_score, probes_of
from stages.qa.scoring.curves import best_layer


@dataclass(frozen=True)
class Headline:
    """One sentence that answers the question, and those that qualify it."""

    answer: str
    notes: list[str]
    metric: str  # column of the curves that the answer is about


def headline(curves: pd.DataFrame, family: Lineage, intervals: pd.DataFrame) -> Headline:
    """Fine-tuned against pretrained, under the headline protocol, at the layer where each is highest.

    The scores are those with an answer forced where there are questions with answers, else those over all questions.
    Without a pair of models, the answer is about the first model alone. `curves`, `intervals`: frames of `Results`.
    """
    points = probes_of(curves[curves["headline"]])
    forced = bool(points["forced_f1"].notna().all())
    metric = "forced_f1" if forced else "f1"
    condition = " with an answer forced" if forced else ""
    by_model = {model: rows.sort_values("layer") for model, rows in points.groupby("model", sort=False)}
    pairs = [(model, family.bases[model]) for model in by_model if family.bases.get(model) in by_model]
    model, base = pairs[0] if pairs else (next(iter(by_model)), None)
    curve = by_model[model]
    peak = _peak(curve, metric)
    model_text = f"{model} peaks at {peak[metric]:.1f}{_interval(intervals, peak, metric)}"
    model_text += f" at layer {peak['layer']:g} of {curve['layer'].max():g}"
    notes = [_depth(model, curve, metric)]
    if base is None:
        answer = f"F1 of {model_text}{condition}."
    else:
        base_peak = _peak(by_model[base], metric)
        base_text = f"pretrained {base} at {base_peak[metric]:.1f}{_interval(intervals, base_peak, metric)}"
        base_text += f" at layer {base_peak['layer']:g}"
        if (twin := family.twins.get(base)) in by_model:
            base_text += f", random weights at {by_model[twin][metric].max():.1f}"
        gap = peak[metric] - base_peak[metric]
        verb = f"adds {gap:.1f} points of F1" if gap >= 0 else f"takes {-gap:.1f} points of F1 away"
        answer = f"Fine-tuning {verb}{condition}: {model_text}, {base_text}."
        low, high = by_model[base][metric].min(), by_model[base][metric].max()
        notes.append(f"The curve of {base} spans {high - low:.1f} points, from {low:.1f} to {high:.1f}.")
    notes.append(_overall(by_model, model, base, no_answer_score(curves)))
    if len(pairs) > 1:
        notes.append(f"{len(pairs)} pairs of a fine-tuned and a pretrained model were run; this is the first.")
    return Headline(answer, notes, metric)


def _peak(curve: pd.DataFrame, metric: str) -> pd.Series:
    return curve.loc[curve[metric].idxmax()]  # the shallowest of equals


def _depth(model: str, curve: pd.DataFrame, metric: str) -> str:
    """Where the curve rises most, from one layer to the next."""
    steps = curve[metric].diff()
    if len(curve) < 2 or steps.max() <= 0:
        return f"{model} does not rise from any layer to the next."
    after = curve.loc[steps.idxmax()]
    before = curve.loc[curve["layer"] < after["layer"]].iloc[-1]
    return (
        f"{model} climbs most between layers {before['layer']:g} and {after['layer']:g}: "
        f"{before[metric]:.1f} to {after[metric]:.1f}."
    )


def _overall(by_model: Mapping[str, pd.DataFrame], model: str, base: str | None, floor: float) -> str:
    best = by_model[model]["f1"].max()
    against = "" if base is None else f" against {by_model[base]['f1'].max():.1f} of {base}"
    return f'Over all questions: {best:.1f}{against}; always answering "no answer" scores {floor:.1f}.'


def _interval(intervals: pd.DataFrame, point: pd.Series, metric: str) -> str:
    """The interval of a probe's point in brackets; "" if there is none."""
    rows = probes_of(intervals)
    rows = rows[rows["metric"] == metric]
    for name in ("model", "protocol", "layer"):
        rows = rows[rows[name] == point[name]]
    return f" ({rows['low'].iloc[0]:.1f} to {rows['high'].iloc[0]:.1f})" if len(rows) else ""


def peaks(curves: pd.DataFrame) -> list[dict[str, str]]:
    """For each model under the headline protocol: its highest forced F1 and F1, and the layers where they are."""
    rows = []
    for model, points in probes_of(curves[curves["headline"]]).groupby("model", sort=False):
        best = best_layer(points)
        row = {"model": str(model), "f1": percent(best["f1"], 1), "layer": layer_text(best["layer"])}
        row |= {"forced_f1": MISSING, "forced_layer": MISSING}
        if points["forced_f1"].notna().any():
            peak = points.loc[points["forced_f1"].idxmax()]
            row |= {"forced_f1": percent(peak["forced_f1"], 1), "forced_layer": layer_text(peak["layer"])}
        rows.append(row)
    return rows

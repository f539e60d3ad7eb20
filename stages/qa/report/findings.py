"""How the models are related, what their curves are measured against, what each switch of the protocol changes, and
the study's answer in a few sentences.

`curves` is the frame of `results.Results`: the final points, mean over the seeds, in percent.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from stages.qa.errors import InputError
from stages.qa.report.html import MISSING, layer_text, percent
from stages.qa.report.results import last_layer, no_answer_score, probes_of
from stages.qa.scoring.curves import best_layer
from stages.qa.sections import Encoder, Finetuning

NO_ANSWER, RANDOM, FIRST = 'always "no answer"', "random encoder", "layer 0"
BEST, LAST, HEAD, CEILING = "best layer", "last layer", "own head", "decode ceiling"
REFERENCE_SCORES = ["exact", "f1", "HasAns_f1"]
REFERENCES = ["model", "protocol", "reference", "layer", *REFERENCE_SCORES]
STEP_SCORES = ["f1", "HasAns_f1", "NoAns_f1", "forced_f1"]
LADDER = ["model", "at", "step", *STEP_SCORES]
TOTAL = "total"


@dataclass(frozen=True)
class Lineage:
    """The models of a study, in order, and how they are related."""

    kinds: dict[str, str]  # model -> "fine-tuned", "pretrained" or "random weights"
    bases: dict[str, str]  # fine-tuned model -> the pretrained one at its root
    twins: dict[str, str]  # pretrained model -> the random one of its architecture
    seeds: dict[str, int]  # random model -> seed of its weights


def lineage(models: Sequence[str], encoders: Mapping[str, Encoder], finetuned: Mapping[str, Finetuning]) -> Lineage:
    """The lineage of `models`, from the sections of params.yaml. Of several random twins, the first counts."""
    bases = pretrained_bases(models, {key: run.base for key, run in finetuned.items()})
    seeds = {key: encoder.seed for key, encoder in encoders.items() if encoder.seed is not None}
    twins: dict[str, str] = {}
    for key, encoder in encoders.items():
        if encoder.random_weights_of is not None:
            twins.setdefault(encoder.random_weights_of, key)
    kinds = dict.fromkeys(models, "pretrained")
    kinds |= {model: "random weights" for model in models if model in seeds}
    kinds |= {model: "fine-tuned" for model in models if model in bases}
    return Lineage(kinds, bases, twins, seeds)


def pretrained_bases(models: Sequence[str], finetuned: Mapping[str, str]) -> dict[str, str]:
    """Fine-tuned model -> the pretrained one at its root.

    finetuned: those trained here -> base (which may be fine-tuned itself). Of `models`, the published checkpoints
    OWNER--BASE-squad2 count as fine-tuned from BASE.
    """
    bases = dict(finetuned)
    for model in models:
        if match := re.fullmatch(r".+?--(.+)-squad2", model):
            bases.setdefault(model, match[1])

    def root(model: str) -> str:
        return root(bases[model]) if model in bases else model

    return {model: root(base) for model, base in bases.items()}


def references(curves: pd.DataFrame, bases: Mapping[str, str], twins: Mapping[str, str]) -> pd.DataFrame:
    """Rows under REFERENCES, from the floor to the ceiling: what to measure each model's curve against.

    bases: fine-tuned model -> pretrained one. twins: pretrained one -> random encoder, of which the best layer is
    taken. A reference that was not run has no row.
    """
    score = no_answer_score(curves)
    has_answers = curves["HasAns_f1"].notna().any()
    floor = {"layer": None, "exact": score, "f1": score, "HasAns_f1": 0.0 if has_answers else None}
    rows: list[dict[str, object]] = []
    for (model, protocol), points in curves.groupby(["model", "protocol"], sort=False):
        probes = probes_of(points)
        twin = twins.get(bases.get(model, model))
        twin_probes = probes_of(curves[(curves["model"] == twin) & (curves["protocol"] == protocol)])
        scores: dict[str, Mapping[str, object] | pd.Series] = {NO_ANSWER: floor}
        if len(twin_probes):
            scores[RANDOM] = best_layer(twin_probes)
        if (probes["layer"] == 0).any():
            scores[FIRST] = probes[probes["layer"] == 0].iloc[0]
        if len(probes):
            scores[BEST] = best_layer(probes)
            scores[LAST] = last_layer(probes)
        for name, reading in ((HEAD, "head"), (CEILING, "gold")):
            if (points["reading"] == reading).any():
                scores[name] = points[points["reading"] == reading].iloc[0]
        for name, point in scores.items():
            values = {column: point[column] for column in ("layer", *REFERENCE_SCORES)}
            rows.append({"model": model, "protocol": protocol, "reference": name, **values})
    return pd.DataFrame(rows, columns=REFERENCES).astype(dict.fromkeys(["layer", *REFERENCE_SCORES], "float64"))


def ladder(curves: pd.DataFrame, protocols: Sequence[str]) -> pd.DataFrame:
    """Rows under LADDER: by how many points each step changes the scores of the last layer and of the best one.

    A step is "ONE → NEXT" of `protocols`; the last row of each model and layer is TOTAL, the sum of its steps. The best
    layer is that of each protocol. No rows for fewer than two protocols. InputError if a model lacks one.
    """
    rows: list[dict[str, object]] = []
    if len(protocols) > 1:
        for model, points in probes_of(curves).groupby("model", sort=False):
            by_protocol = dict(list(points.groupby("protocol")))
            if missing := [name for name in protocols if name not in by_protocol]:
                raise InputError(f"ladder: {model} has no scores under {missing[0]}; run the evaluate stage again")
            for at, choose in ((LAST, last_layer), (BEST, best_layer)):
                scores = {name: choose(by_protocol[name])[STEP_SCORES].astype(float) for name in protocols}
                for one, following in pairwise(protocols):
                    change = scores[following] - scores[one]
                    rows.append({"model": model, "at": at, "step": f"{one} → {following}", **change})
                total = scores[protocols[-1]] - scores[protocols[0]]
                rows.append({"model": model, "at": at, "step": TOTAL, **total})
    return pd.DataFrame(rows, columns=LADDER)


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

"""How the models are related, what each switch of the protocol changes, and the study's answer in a few sentences.

No layer is called the best because it is the highest: those that cannot be told from the highest are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from stages.qa.report.original import Key
from stages.qa.report.results import of_readings
from stages.qa.scoring.intervals import Interval, Resampled, best_gain, highest
from stages.qa.sections import Encoder, Finetuning, Statistics

STEP_SCORES = ["f1", "HasAns_f1", "NoAns_f1", "forced_f1"]


@dataclass(frozen=True)
class Lineage:
    """The models of a study, in order, and how they are related."""

    kinds: dict[str, str]  # model -> "fine-tuned", "pretrained" or "random weights"
    bases: dict[str, str]  # fine-tuned model -> the pretrained one at its root
    twins: dict[str, str]  # pretrained model -> the random one of its architecture


def lineage(models: Sequence[str], encoders: Mapping[str, Encoder], finetuned: Mapping[str, Finetuning]) -> Lineage:
    """The lineage of `models`, from the sections of params.yaml. Of several random twins, the first counts."""
    bases = pretrained_bases(models, {key: run.base for key, run in finetuned.items()})
    drawn = {key: encoder.random_weights_of for key, encoder in encoders.items() if encoder.random_weights_of}
    twins: dict[str, str] = {}
    for key, base in drawn.items():
        twins.setdefault(base, key)
    kinds = dict.fromkeys(models, "pretrained")
    kinds |= {model: "random weights" for model in models if model in drawn}
    kinds |= {model: "fine-tuned" for model in models if model in bases}
    return Lineage(kinds, bases, twins)


def pretrained_bases(models: Sequence[str], finetuned: Mapping[str, str]) -> dict[str, str]:
    """Fine-tuned model -> the pretrained one at its root; OWNER--BASE-squad2 of `models` is fine-tuned from BASE.

    finetuned: those trained here -> base (which may be fine-tuned itself).
    """
    bases = dict(finetuned)
    for model in models:
        if match := re.fullmatch(r".+?--(.+)-squad2", model):
            bases.setdefault(model, match[1])

    def root(model: str) -> str:
        return root(bases[model]) if model in bases else model

    return {model: root(base) for model, base in bases.items()}


def ladder(curves: pd.DataFrame, protocols: Sequence[str]) -> pd.DataFrame:
    """Columns model, step, STEP_SCORES: by how many points each step changes the last layer, and all steps together.

    A step is "ONE → NEXT" of `protocols`. No rows for fewer than two.
    """
    rows = []
    if len(protocols) > 1:
        steps = {f"{one} → {following}": (one, following) for one, following in pairwise(protocols)}
        steps["total"] = protocols[0], protocols[-1]
        for model, points in of_readings(curves, "probe").groupby("model", sort=False):
            last = points[points["layer"] == points["layer"].max()].set_index("protocol")[STEP_SCORES]
            for step, (one, other) in steps.items():
                rows.append({"model": model, "step": step, **(last.loc[other] - last.loc[one])})
    return pd.DataFrame(rows, columns=["model", "step", *STEP_SCORES])


@dataclass(frozen=True)
class Headline:
    """One sentence that answers the question, and those that qualify it."""

    answer: str
    notes: list[str]
    metric: str  # column of the curves that the answer is about


def headline(curves: Mapping[Key, Resampled], protocol: str, family: Lineage, floor: float) -> Headline:
    """Fine-tuned against pretrained under `protocol`, each at its best; without a pair, the first model alone.

    By forced F1 where there are questions with answers, else by F1. floor: what always "no answer" scores.
    """
    of = {model: curve for (model, name), curve in curves.items() if name == protocol and curve.layers}
    if not of:
        return Headline("No layer was probed.", [], "f1")
    metric = "forced_f1" if all("forced_f1" in curve.values for curve in of.values()) else "f1"
    condition = " with an answer forced" if metric == "forced_f1" else ""
    pairs = [(model, family.bases[model]) for model in of if family.bases.get(model) in of]
    model, base = pairs[0] if pairs else (next(iter(of)), None)
    curve = of[model]
    best = f"Highest F1{condition}: {reached(model, curve, metric)}"
    over_all = f"Over all questions: {best_score(curve, 'f1')}"
    if base is None:
        answer = f"{model} is at its best {best_place(curve, metric)}: F1{condition} {best_score(curve, metric)}."
        climb = steepest(curve, curve.values[metric], "it")
    else:
        gain = highest(curve.values[metric], curve.confidence, less=of[base].values[metric])
        if gain.low > 0:
            effect = f"adds {gain} points of F1{condition}"
            climb = steepest(curve, curve.values[metric] - of[base].values[metric], "the gain over the base")
        else:
            effect, climb = f"changes F1{condition} by {gain} points", ""
        answer = f"Fine-tuning {effect}; {model} is at its best {best_place(curve, metric)}."
        best += f"; pretrained {reached(base, of[base], metric)}"
        over_all += f" against {best_score(of[base], 'f1')} of {base}"
    twin = family.twins.get(base or "", "")
    if twin in of:
        best += f"; random weights {best_score(of[twin], metric)}"
    notes = [f"{best}.", *filter(None, [climb]), f'{over_all}; always answering "no answer" scores {floor:.1f}.']
    if curve.clusters < 2:
        notes.append(f"No intervals: all questions are of one {curve.unit}.")
    elif base is not None and curve.runs == 1:
        notes.append("One training run: another would differ by an unknown amount, which is in no interval.")
    elif base is not None:
        notes.append(f"Intervals are over {curve.unit}s and over {curve.runs} runs of {model}.")
    if twin in of and of[twin].runs == 1:
        notes.append("The random weights are one draw.")
    if len(pairs) > 1:
        notes.append(f"{len(pairs)} pairs of a fine-tuned and a pretrained model were run; this is the first.")
    return Headline(answer, notes, metric)


def both_forms(clusters: pd.DataFrame, bases: Mapping[str, str], settings: Statistics) -> str:
    """What fine-tuning adds to either form of the probe at its best layer of the sample; "" without a pair.

    clusters: rows under CLUSTERS. Of several models with their base, the first.
    """
    examined = list(clusters["model"].unique())
    pairs = [(model, bases[model]) for model in examined if bases.get(model) in examined]
    if not pairs:
        return ""
    model, base = pairs[0]
    gain = {form: best_gain(rows, model, base, settings) for form, rows in clusters.groupby("control", sort=False)}
    return (
        f"On the sample, fine-tuning adds {gain['task']} points of forced F1 to the linear probe at its best layer and "
        f"{gain['question_products']} to the probe that sees the question ({model} less {base}, its first run alone)."
    )


def l2_note(choice: Mapping[str, Any]) -> str:
    """Which l2 the probes at their optimum have, and where it comes from; "" without such probes."""
    if choice["l2"] is None:
        return ""
    losses = choice["validation_loss"]
    if len(losses) < 2:
        return f"Probes at their optimum have l2 {choice['l2']:g}, fixed by the study."
    note = f"Probes at their optimum have l2 {choice['l2']:g}, the best of {len(losses)} on validation articles, "
    note += "which neither fine-tuning nor probes have learned from; one value for all layers and models."
    return note + (" It is at the edge of what was tried: another may be better." if choice["at_edge"] else "")


def reached(model: str, curve: Resampled, metric: str) -> str:
    """How high a model gets, and where."""
    return f"{model} {best_score(curve, metric)} {best_place(curve, metric)}"


def best_score(curve: Resampled, metric: str) -> Interval:
    """The highest score of the layers."""
    return highest(curve.values[metric], curve.confidence, lowest=0.0)


def best_place(curve: Resampled, metric: str) -> str:
    """The layers that cannot be told from the best, in words."""
    best = curve.best_layers(metric)
    if best == curve.layers:
        return "at any layer"
    if best == curve.layers[-len(best) :]:
        return f"from layer {best[0]} on"
    return f"at layer{'s' if len(best) > 1 else ''} {', '.join(map(str, best))}"


def steepest(curve: Resampled, rise: np.ndarray, what: str) -> str:
    """The shortest stretch of layers over which `rise` (1 + resamples, layers) surely grows by most of its highest."""
    low, high = curve.pairs(rise)
    most = rise[0].max() / 2
    count = len(curve.layers)
    for length in range(1, count):
        ends = [end for end in range(length, count) if low[end, end - length] > max(most, 0)]
        if ends:
            end = max(ends, key=lambda end: rise[0, end] - rise[0, end - length])
            start = end - length
            step = Interval(float(rise[0, end] - rise[0, start]), float(low[end, start]), float(high[end, start]))
            return f"Most of {what} comes between layers {curve.layers[start]} and {curve.layers[end]}: {step} points."
    return f"No stretch of layers surely holds most of {what}."


def peaks(curves: Mapping[Key, Resampled], protocol: str, metric: str) -> list[dict[str, str]]:
    """For each probed model under `protocol`: the score at its best, and where that is."""
    return [
        {"model": model, "score": str(best_score(curve, metric)), "where": best_place(curve, metric)}
        for (model, name), curve in curves.items()
        if name == protocol and metric in curve.values
    ]

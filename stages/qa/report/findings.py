"""What the curves are held to, and what each switch of the protocol does to them.

Frames are score frames of `tables`; every figure is that after the last epoch, at the first learning rate, as a mean
over the seeds, in percent.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from stages.qa.config import Encoder
from stages.qa.errors import InputError
from stages.qa.report.tables import best_layer, first_rate, last_epoch, mean_over_seeds, no_answer_score

NO_ANSWER, RANDOM, FIRST = 'always "no answer"', "random encoder", "layer 0"
BEST, LAST, HEAD, CEILING = "best layer", "last layer", "own head", "decode ceiling"
REFERENCES = (NO_ANSWER, RANDOM, FIRST, BEST, LAST, HEAD, CEILING)  # from the floor to the ceiling
REFERENCE_SCORES = ["exact", "f1", "HasAns_f1"]
STEP_SCORES = ["f1", "HasAns_f1", "NoAns_f1", "forced_f1"]
TOTAL = "total"


def pretrained_bases(models: Sequence[str], finetuned: Mapping[str, str]) -> dict[str, str]:
    """Fine-tuned model -> the pretrained one at its root.

    finetuned: those trained here -> base (which may be fine-tuned itself). Of `models`, the published checkpoints
    OWNER--BASE-squad2 count as fine-tuned from BASE.
    """
    found = dict(finetuned)
    for model in models:
        if match := re.fullmatch(r".+?--(.+)-squad2", model):
            found.setdefault(model, match[1])

    def root(model: str) -> str:
        return root(found[model]) if model in found else model

    return {model: root(base) for model, base in found.items()}


def random_twins(encoders: Mapping[str, Encoder]) -> dict[str, str]:
    """Pretrained encoder -> the first encoder with the same sources and random weights."""
    twins: dict[str, str] = {}
    for key, encoder in encoders.items():
        for other, candidate in encoders.items():
            if (encoder.weights, candidate.weights) == (
                "pretrained",
                "random",
            ) and encoder.sources == candidate.sources:
                twins.setdefault(key, other)
    return twins


def references(frame: pd.DataFrame, bases: Mapping[str, str], twins: Mapping[str, str]) -> pd.DataFrame:
    """Columns model, protocol, reference (of REFERENCES), layer, exact, f1, HasAns_f1: what a curve is to be held to.

    bases: fine-tuned model -> pretrained one. twins: pretrained one -> random encoder, of which the best layer is
    taken. A reference that was not run has no row.
    """
    points = final_points(frame)
    floor: dict[str, float] = dict.fromkeys(("exact", "f1"), no_answer_score(frame))
    floor |= {"layer": float("nan"), "HasAns_f1": 0.0 if frame["HasAns_f1"].notna().any() else float("nan")}
    rows: list[dict[str, object]] = []
    for (model, protocol), own in points.groupby(["model", "protocol"], sort=False):
        probes, twin = own[own["reading"] == "probe"], twins.get(bases.get(model, model))
        random = points[(points["model"] == twin) & (points["protocol"] == protocol) & (points["reading"] == "probe")]
        found: dict[str, Mapping[str, float] | pd.Series] = {NO_ANSWER: floor}
        found |= {RANDOM: best_layer(random)} if len(random) else {}
        if len(probes):
            found |= {BEST: best_layer(probes), LAST: probes.loc[probes["layer"].idxmax()]}
        for name, rest in (
            (FIRST, probes[probes["layer"] == 0]),
            (HEAD, own[own["reading"] == "head"]),
            (CEILING, own[own["reading"] == "gold"]),
        ):
            found |= {name: rest.iloc[0]} if len(rest) else {}
        for name in REFERENCES:
            if name in found:
                values = {column: found[name][column] for column in ["layer", *REFERENCE_SCORES]}
                rows.append({"model": model, "protocol": protocol, "reference": name, **values})
    return pd.DataFrame(rows, columns=["model", "protocol", "reference", "layer", *REFERENCE_SCORES])


def ladder(frame: pd.DataFrame, protocols: Sequence[str]) -> pd.DataFrame:
    """Columns model, at ("last layer", "best layer"), step, STEP_SCORES: by how many points each step changes them.

    A step is "ONE → NEXT" of `protocols`; the last row of each model and layer is TOTAL, the sum of its steps. The best
    layer is that of each protocol. No rows for fewer than two protocols. InputError if a probed model lacks one.
    """
    points = final_points(frame[frame["reading"] == "probe"])
    rows: list[dict[str, object]] = []
    if len(protocols) > 1:
        for model, curves in points.groupby("model", sort=False):
            by_protocol = dict(list(curves.groupby("protocol")))
            if missing := [name for name in protocols if name not in by_protocol]:
                raise InputError(f"ladder: {model} has no scores under {missing[0]}; run the evaluate stage again")
            for at in (LAST, BEST):
                scores = [_at(by_protocol[name], at)[STEP_SCORES].astype(float) for name in protocols]
                steps = [f"{one} → {other}" for one, other in pairwise(protocols)]
                changes = [after - before for before, after in pairwise(scores)]
                for step, change in zip([*steps, TOTAL], [*changes, scores[-1] - scores[0]], strict=True):
                    rows.append({"model": model, "at": at, "step": step, **change})
    return pd.DataFrame(rows, columns=["model", "at", "step", *STEP_SCORES])


def final_points(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per model, protocol, reading and layer: last epoch, first learning rate, mean over the seeds."""
    return mean_over_seeds(first_rate(last_epoch(frame)))


def _at(points: pd.DataFrame, layer: str) -> pd.Series:
    return best_layer(points) if layer == BEST else points.loc[points["layer"].idxmax()]

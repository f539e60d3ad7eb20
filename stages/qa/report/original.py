"""The original study: its published numbers with ours beside them, and its statements with a verdict on each.

The numbers are two tables in percent: of the probes (a row per model and layer, after the third epoch) and of the
models' own heads.

The statements, which named no thresholds, become conditions on quantities that have intervals; the thresholds are ours,
the same for every model. A condition holds if the whole interval is on its side of the threshold, does not hold if the
whole interval is on the other, and is not decided between. A statement holds if all of its conditions do, and does not
if one does not. Published curves have no intervals: they are judged on their numbers alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from stages.qa.errors import InputError
from stages.qa.report.results import at_final_rate, mean_of_runs
from stages.qa.scoring.resampling import Interval, Resampled

QUESTIONS = 6078  # of the dev split that the numbers are of (CS224N's)
EPOCH = 3  # after which the published probes were read
METRICS = ["exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"]
RISE = 5.0  # points of F1 that a straight line through the curve rises from the first to the last layer
FLAT = 2.5  # points of F1 from the lowest to the highest layer: the margin of equivalence
FAVOUR_NOANS, FAVOUR_HASANS = 80.0, 20.0  # F1, mean over the lowest third
CHANGE = 1.0  # points of F1: less is no gain and no loss
Verdict = Literal["holds", "does not hold", "not decided"]
Key = tuple[str, str]  # model and protocol


def key_of(model_prefix: str) -> str:
    """The key under which a study has a model of the hub."""
    return model_prefix.replace("/", "--").replace(".", "_")


def read_published(folder: Path) -> pd.DataFrame:
    """The two published tables, one after the other: model_prefix, model, reading, layer (missing: head), METRICS.

    Raises InputError if one is missing or malformed.
    """
    probes = _read(folder / "layer_results.csv", ["model_prefix", "layer"]).assign(reading="probe")
    heads = _read(folder / "finetuned_results.csv", ["model_prefix"]).assign(reading="head")
    rows = pd.concat([probes, heads], ignore_index=True)
    rows["model"] = rows["model_prefix"].map(key_of)
    return rows[["model_prefix", "model", "reading", "layer", *METRICS]]


def compare(layers: pd.DataFrame, published: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """One row per published row: model_prefix, model, reading, layer, status, then for each of METRICS
    <metric>_published, <metric>_ours and <metric>_difference (ours less published).

    layers: frame of `Results`. Ours: under `protocol`, after epoch EPOCH (or of a fit without epochs), at the final
    learning rate, mean over runs and seeds. status: "run", or "not run" without ours and the difference.
    """
    ours = at_final_rate(layers[layers["protocol"] == protocol])
    ours = ours[ours["epoch"].isna() | (ours["epoch"] == EPOCH)]
    ours = mean_of_runs(ours, ["model", "reading", "layer"], METRICS).astype({"layer": "float64"})
    ours.loc[ours["reading"] == "head", "layer"] = float("nan")  # the published heads have none
    keys = ["model", "reading", "layer"]
    rows = published.merge(ours, on=keys, how="left", suffixes=("_published", "_ours"))
    rows["status"] = rows["f1_ours"].isna().map({True: "not run", False: "run"})
    columns = ["model_prefix", *keys, "status"]
    for name in METRICS:
        rows[f"{name}_difference"] = rows[f"{name}_ours"] - rows[f"{name}_published"]
        columns += [f"{name}_published", f"{name}_ours", f"{name}_difference"]
    return rows[columns]


def as_curves(published: pd.DataFrame) -> dict[Key, Resampled]:
    """The published probes as curves of which no resample is known: the statements are judged on them too."""
    curves = {}
    for model, rows in published[published["reading"] == "probe"].sort_values("layer").groupby("model", sort=False):
        values = {metric: rows[metric].to_numpy()[None] for metric in METRICS}
        layers = rows["layer"].astype(int).tolist()
        curves[str(model), "published"] = Resampled(layers, values, 0.0, {}, clusters=0, unit="article", runs=1)
    return curves


def _read(path: Path, keys: list[str]) -> pd.DataFrame:
    types = {name: "str" if name == "model_prefix" else "float64" for name in (*keys, *METRICS)}
    try:
        frame = pd.read_csv(path, usecols=list(types), dtype=types, encoding="utf-8")[list(types)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the published table ({error}); restore it from the repository") from error
    return frame


@dataclass(frozen=True)
class Condition:
    """A quantity that is to be at least a threshold, or at most."""

    name: str
    quantity: Interval
    side: Literal["at least", "at most"]
    threshold: float

    @property
    def verdict(self) -> Verdict:
        """From the interval."""
        low, high = self.quantity.low, self.quantity.high
        at_least = self.side == "at least"
        if low >= self.threshold if at_least else high <= self.threshold:
            return "holds"
        return "does not hold" if (high < self.threshold if at_least else low > self.threshold) else "not decided"


@dataclass(frozen=True)
class Claim:
    """One statement of the original report about one model under one protocol."""

    statement: str
    model: str
    protocol: str
    verdict: Verdict
    numbers: str


def claims(curves: Mapping[Key, Resampled], finetuned: Mapping[str, str]) -> list[Claim]:
    """Every statement of STATEMENTS on every curve of a fine-tuned model (or of its pretrained base).

    finetuned: fine-tuned model -> pretrained base. Layer 0 does not count: the original had none. Thirds are those of
    layers 1 to L, rounded. Curves of fewer than three layers, or without questions of one kind, are not judged.
    """
    judged = []
    for statement, (_, about_base, conditions) in STATEMENTS.items():
        models = set(finetuned.values()) if about_base else set(finetuned)
        for (model, protocol), whole in curves.items():
            curve = whole.of_layers(1)
            if model in models and len(curve.layers) > 2 and {"HasAns_f1", "NoAns_f1"} <= curve.values.keys():
                parts = conditions(curve)
                numbers = "; ".join(f"{part.name} {part.quantity}" for part in parts)
                verdict = verdict_of([part.verdict for part in parts])
                judged.append(Claim(statement, model, protocol, verdict, numbers))
    return judged


def verdict_of(parts: Sequence[Verdict]) -> Verdict:
    """Of a statement, from its conditions."""
    if "does not hold" in parts:
        return "does not hold"
    return "not decided" if "not decided" in parts else "holds"


def _contrast(curve: Resampled, metric: str, weights: np.ndarray, lowest: float = -100.0) -> Interval:
    """A weighted sum of the layers of one curve; lowest: what it can be."""
    return curve.interval(curve.values[metric] @ weights, lowest=lowest)


def _mean(curve: Resampled, places: range) -> np.ndarray:
    """The weights that give the mean of some layers."""
    weights = np.zeros(len(curve.layers))
    weights[places] = 1 / len(places)
    return weights


def _rises(curve: Resampled) -> list[Condition]:
    depth = np.array(curve.layers, dtype=float)
    centred = depth - depth.mean()
    slope = centred / (centred**2).sum()  # least squares
    rise = _contrast(curve, "f1", slope * (depth[-1] - depth[0]))
    return [Condition("rise of F1", rise, "at least", RISE)]


def _flat(curve: Resampled) -> list[Condition]:
    low, high = curve.pairs(curve.values["f1"])
    span = Interval(float(np.ptp(curve.values["f1"][0])), max(float(low.max()), 0.0), float(high.max()))
    return [Condition("range of F1", span, "at most", FLAT)]


def _low_layers_favour_no_answer(curve: Resampled) -> list[Condition]:
    low = _mean(curve, _thirds(curve)[0])
    return [
        Condition("NoAns F1", _contrast(curve, "NoAns_f1", low, 0.0), "at least", FAVOUR_NOANS),
        Condition("HasAns F1", _contrast(curve, "HasAns_f1", low, 0.0), "at most", FAVOUR_HASANS),
    ]


def _middle_layers_trade(curve: Resampled) -> list[Condition]:
    low, middle, _ = (_mean(curve, third) for third in _thirds(curve))
    return [
        Condition("change of HasAns F1", _contrast(curve, "HasAns_f1", middle - low), "at least", CHANGE),
        Condition("change of NoAns F1", _contrast(curve, "NoAns_f1", middle - low), "at most", -CHANGE),
    ]


def _high_layers_gain_both(curve: Resampled) -> list[Condition]:
    last = len(curve.layers) - 1
    before, after = _mean(curve, _thirds(curve)[1][-1:]), _mean(curve, range(last, last + 1))
    return [
        Condition(f"change of {kind} F1", _contrast(curve, f"{kind}_f1", after - before), "at least", CHANGE)
        for kind in ("HasAns", "NoAns")
    ]


# statement -> when it holds, whether it is about the pretrained base, and the conditions on one curve of layers 1 to L
STATEMENTS: dict[str, tuple[str, bool, Callable[[Resampled], list[Condition]]]] = {
    "fine-tuned F1 rises with depth": (
        f"a straight line through the curve rises by at least {RISE:g} points from the first to the last layer",
        False,
        _rises,
    ),
    "pretrained F1 is flat": (f"highest less lowest F1 is at most {FLAT:g} points", True, _flat),
    'low layers of fine-tuned models favour "no answer"': (
        f"mean over the lowest third: NoAns F1 at least {FAVOUR_NOANS:g}, HasAns F1 at most {FAVOUR_HASANS:g}",
        False,
        _low_layers_favour_no_answer,
    ),
    "mid layers gain HasAns while losing NoAns": (
        f"means of the middle third against the lowest: HasAns F1 at least {CHANGE:g} point up, NoAns F1 as much down",
        False,
        _middle_layers_trade,
    ),
    "high layers gain both": (
        f"from the last layer of the middle third to the last of all, HasAns and NoAns F1 rise by at least {CHANGE:g} "
        "point each",
        False,
        _high_layers_gain_both,
    ),
}


def _thirds(curve: Resampled) -> list[range]:
    """Places of the lowest, middle and highest third of at least three layers."""
    cuts = [round(i * len(curve.layers) / 3) for i in range(4)]
    return [range(start, end) for start, end in pairwise(cuts)]

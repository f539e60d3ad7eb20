"""The original study: its published numbers (percent) with ours beside them, and its statements with a verdict on each.

The statements named no thresholds: ours, the same for every model, make them conditions on quantities that have
intervals. Published curves have none: they are judged on their numbers alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from stages.qa.errors import InputError
from stages.qa.report.results import at_final_rate, mean_of_runs, of_readings
from stages.qa.scoring.intervals import Interval, Resampled

QUESTIONS = 6078  # of the dev split that the numbers are of (CS224N's)
EPOCH = 3  # after which the published probes were read
METRICS = ["exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"]
RISE = 5.0  # points of F1 that a straight line through the curve rises from the first to the last layer
FLAT = 2.5  # points of F1 from the lowest to the highest layer: the margin of equivalence
FAVOUR_NOANS, FAVOUR_HASANS = 80.0, 20.0  # F1, mean over the lowest third
CHANGE = 1.0  # points of F1: less is no gain and no loss
Verdict = Literal["does not hold", "not decided", "holds"]  # from worst to best
Key = tuple[str, str]  # model and protocol


def read_published(folder: Path) -> pd.DataFrame:
    """The two published tables, one after the other: model_prefix, model, reading, layer (missing: head), METRICS.

    model: the key under which a study has it. Raises InputError if a table is missing or malformed.
    """
    probes = _read(folder / "layer_results.csv", ["model_prefix", "layer"]).assign(reading="probe")
    heads = _read(folder / "finetuned_results.csv", ["model_prefix"]).assign(reading="head")
    rows = pd.concat([probes, heads], ignore_index=True)
    rows["model"] = rows["model_prefix"].str.replace("/", "--").str.replace(".", "_", regex=False)
    return rows[["model_prefix", "model", "reading", "layer", *METRICS]]


def compare(layers: pd.DataFrame, published: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Each published row with its status, and for each of METRICS <metric>_published, _ours and _difference.

    layers: frame of `Results`. Ours: under `protocol`, after epoch EPOCH (or of a fit without epochs), at the final
    learning rate, mean over runs and seeds; missing where status is "not run", not "run". Difference: ours less theirs.
    """
    ours = at_final_rate(layers[layers["protocol"] == protocol])
    ours = ours[ours["epoch"].isna() | (ours["epoch"] == EPOCH)]
    ours = mean_of_runs(ours, ["model", "reading", "layer"], METRICS)
    ours["layer"] = ours["layer"].where(ours["reading"] != "head")  # the published heads have none
    rows = published.merge(ours, on=["model", "reading", "layer"], how="left", suffixes=("_published", "_ours"))
    rows["status"] = rows["f1_ours"].isna().map({True: "not run", False: "run"})
    for name in METRICS:
        rows[f"{name}_difference"] = rows[f"{name}_ours"] - rows[f"{name}_published"]
    return rows


def as_curves(published: pd.DataFrame) -> dict[Key, Resampled]:
    """The published probes as curves without resamples: the statements are judged on them too."""
    curves = {}
    for model, rows in of_readings(published, "probe").sort_values("layer").groupby("model", sort=False):
        values = {metric: rows[metric].to_numpy()[None] for metric in METRICS}
        layers = rows["layer"].astype(int).tolist()
        curves[str(model), "published"] = Resampled(layers, values, 0.0, {}, clusters=0, unit="article", runs=1)
    return curves


def _read(path: Path, keys: list[str]) -> pd.DataFrame:
    types = {name: "str" if name == "model_prefix" else "float64" for name in (*keys, *METRICS)}
    try:
        return pd.read_csv(path, usecols=list(types), dtype=types, encoding="utf-8")[list(types)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the published table ({error}); restore it from the repository") from error


@dataclass(frozen=True)
class Condition:
    """A quantity of the layers' scores under one metric that is to lie between two thresholds."""

    name: str
    quantity: Callable[[Resampled, str], Interval]
    metric: str
    at_least: float = -inf
    at_most: float = inf

    def verdict(self, quantity: Interval) -> Verdict:
        """Holds if the whole interval is between the thresholds, does not if all of it is outside; else not decided."""
        if self.at_least <= quantity.low and quantity.high <= self.at_most:
            return "holds"
        outside = quantity.high < self.at_least or quantity.low > self.at_most
        return "does not hold" if outside else "not decided"


@dataclass(frozen=True)
class Statement:
    """A statement of the original report about every fine-tuned model, or about every pretrained base of one."""

    holds_if: str  # the conditions, in words
    conditions: list[Condition]
    about_bases: bool = False


@dataclass(frozen=True)
class Claim:
    """One statement of the original report about one model under one protocol."""

    statement: str
    model: str
    protocol: str
    verdict: Verdict
    numbers: str


def claims(curves: Mapping[Key, Resampled], finetuned: Mapping[str, str]) -> list[Claim]:
    """Every statement on every curve of a fine-tuned model, or of its pretrained base. finetuned: model -> base.

    Layer 0 does not count: the original had none. Thirds are those of layers 1 to L, rounded. Curves of fewer than
    three layers, or without questions of one kind, are not judged.
    """
    judged = []
    for name, statement in STATEMENTS.items():
        models = set(finetuned.values()) if statement.about_bases else set(finetuned)
        for (model, protocol), whole in curves.items():
            curve = whole.of_layers(1)
            if model in models and len(curve.layers) > 2 and {"HasAns_f1", "NoAns_f1"} <= curve.values.keys():
                numbers, verdicts = [], []
                for condition in statement.conditions:
                    quantity = condition.quantity(curve, condition.metric)
                    numbers.append(f"{condition.name} {quantity}")
                    verdicts.append(condition.verdict(quantity))
                verdict = min(verdicts, key=get_args(Verdict).index)
                judged.append(Claim(name, model, protocol, verdict, "; ".join(numbers)))
    return judged


def rise(curve: Resampled, metric: str) -> Interval:
    """How far the straight line of least squares rises from the first to the last layer."""
    slopes = np.polyfit(curve.layers, curve.values[metric].T, deg=1)[0]
    return curve.interval(slopes * (curve.layers[-1] - curve.layers[0]))


def span(curve: Resampled, metric: str) -> Interval:
    """The highest less the lowest layer."""
    low, high = curve.pairs(curve.values[metric])
    return Interval(float(np.ptp(curve.values[metric][0])), max(float(low.max()), 0.0), float(high.max()))


def lowest_third(curve: Resampled, metric: str) -> Interval:
    """The mean over the lowest third."""
    return curve.interval(thirds(curve, metric)[0].mean(axis=1), lowest=0.0)


def to_middle_third(curve: Resampled, metric: str) -> Interval:
    """The mean over the middle third less that over the lowest."""
    low, middle, _ = thirds(curve, metric)
    return curve.interval(middle.mean(axis=1) - low.mean(axis=1))


def to_last_layer(curve: Resampled, metric: str) -> Interval:
    """The last layer less the last of the middle third."""
    _, middle, high = thirds(curve, metric)
    return curve.interval(high[:, -1] - middle[:, -1])


def thirds(curve: Resampled, metric: str) -> list[np.ndarray]:
    """The scores of the lowest, middle and highest third of at least three layers, (1 + resamples, layers) each."""
    count = len(curve.layers)
    return np.split(curve.values[metric], [round(count / 3), round(2 * count / 3)], axis=1)


STATEMENTS = {
    "fine-tuned F1 rises with depth": Statement(
        f"a straight line through the curve rises by at least {RISE:g} points from the first to the last layer",
        [Condition("rise of F1", rise, "f1", at_least=RISE)],
    ),
    "pretrained F1 is flat": Statement(
        f"highest less lowest F1 is at most {FLAT:g} points",
        [Condition("range of F1", span, "f1", at_most=FLAT)],
        about_bases=True,
    ),
    'low layers of fine-tuned models favour "no answer"': Statement(
        f"mean over the lowest third: NoAns F1 at least {FAVOUR_NOANS:g}, HasAns F1 at most {FAVOUR_HASANS:g}",
        [
            Condition("NoAns F1", lowest_third, "NoAns_f1", at_least=FAVOUR_NOANS),
            Condition("HasAns F1", lowest_third, "HasAns_f1", at_most=FAVOUR_HASANS),
        ],
    ),
    "mid layers gain HasAns while losing NoAns": Statement(
        f"means of the middle third against the lowest: HasAns F1 at least {CHANGE:g} point up, NoAns F1 as much down",
        [
            Condition("change of HasAns F1", to_middle_third, "HasAns_f1", at_least=CHANGE),
            Condition("change of NoAns F1", to_middle_third, "NoAns_f1", at_most=-CHANGE),
        ],
    ),
    "high layers gain both": Statement(
        f"from the last layer of the middle third to the last of all, HasAns and NoAns F1 rise by at least {CHANGE:g} "
        "point each",
        [
            Condition("change of HasAns F1", to_last_layer, "HasAns_f1", at_least=CHANGE),
            Condition("change of NoAns F1", to_last_layer, "NoAns_f1", at_least=CHANGE),
        ],
    ),
}

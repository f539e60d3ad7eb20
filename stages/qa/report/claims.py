"""The original report's statements about its curves, as checks.

The statements named no thresholds: those below are ours, the same for every model. On the original's own published
numbers all hold but one: F1 of the fine-tuned DistilBERT dips before it rises.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from stages.qa.report.results import probes_of, protocols_of

RISE = 5.0  # points of F1 from the first to the last layer
RANKS = 0.7  # rank correlation of F1 with depth (Spearman)
FLAT = 2.5  # points of F1 from the lowest to the highest layer
FAVOUR_NOANS, FAVOUR_HASANS = 80.0, 20.0  # F1, mean over the lowest third
CHANGE = 1.0  # points of F1: less is no gain and no loss


@dataclass(frozen=True)
class Claim:
    """One statement of the original report about one model under one protocol."""

    statement: str
    model: str
    protocol: str
    holds: bool | None  # None: it cannot be judged; numbers says why
    numbers: str

    @property
    def verdict(self) -> str:
        """In words."""
        if self.holds is None:
            return "not run"
        return "holds" if self.holds else "does not hold"


def claims(curves: pd.DataFrame, finetuned: Mapping[str, str]) -> list[Claim]:
    """Every statement of STATEMENTS on every fine-tuned model (or on its pretrained base), under every protocol.

    curves: frame of `Results`. finetuned: fine-tuned model -> pretrained base. Layer 0 does not count: the original had
    none. Thirds are those of layers 1 to L, rounded. A statement about layers of three thirds is not judged with fewer
    than three layers.
    """
    points = probes_of(curves[curves["layer"] > 0])
    claims = []
    for statement, (_, about_base, judge) in STATEMENTS.items():
        for model in dict.fromkeys(finetuned.values() if about_base else finetuned):
            for protocol in protocols_of(curves):
                curve = points[(points["model"] == model) & (points["protocol"] == protocol)].sort_values("layer")
                holds: bool | None = None
                if curve.empty:
                    numbers = "not probed"
                elif len(curve) < 3 and not about_base:
                    numbers = "fewer than three layers"
                elif curve[["f1", "HasAns_f1", "NoAns_f1"]].isna().any(axis=None):
                    numbers = "no questions of one kind"
                else:
                    holds, numbers = judge(curve)
                claims.append(Claim(statement, model, protocol, holds, numbers))
    return claims


def _rises(curve: pd.DataFrame) -> tuple[bool, str]:
    first, last = curve.iloc[0], curve.iloc[-1]
    ranks = 0.0 if curve["f1"].nunique() == 1 else float(curve["layer"].rank().corr(curve["f1"].rank()))
    numbers = (
        f"F1 {first['f1']:.2f} at layer 1, {last['f1']:.2f} at layer {last['layer']:g}; rank correlation {ranks:.2f}"
    )
    return bool(last["f1"] - first["f1"] > RISE) and ranks >= RANKS, numbers


def _flat(curve: pd.DataFrame) -> tuple[bool, str]:
    low, high, forced = curve["f1"].min(), curve["f1"].max(), curve["forced_f1"]
    numbers = f"F1 {low:.2f} to {high:.2f}"
    if forced.notna().all():
        peak = curve.loc[forced.idxmax(), "layer"]
        numbers += f"; with an answer forced {forced.min():.2f} to {forced.max():.2f} (layer {peak:g})"
    return bool(high - low <= FLAT), numbers


def _low_layers_favour_no_answer(curve: pd.DataFrame) -> tuple[bool, str]:
    low = _thirds(curve)[0]
    holds = low["NoAns_f1"].mean() >= FAVOUR_NOANS and low["HasAns_f1"].mean() <= FAVOUR_HASANS
    return bool(holds), _pair(_layers(low), low[["HasAns_f1", "NoAns_f1"]].mean())


def _middle_layers_trade(curve: pd.DataFrame) -> tuple[bool, str]:
    low, middle, _ = _thirds(curve)
    before, after = (part[["HasAns_f1", "NoAns_f1"]].mean() for part in (low, middle))
    change = after - before
    numbers = f"{_pair(_layers(low), before)}; {_pair(_layers(middle), after)}"
    return bool(change["HasAns_f1"] > CHANGE and change["NoAns_f1"] < -CHANGE), numbers


def _high_layers_gain_both(curve: pd.DataFrame) -> tuple[bool, str]:
    before, after = _thirds(curve)[1].iloc[-1], curve.iloc[-1]
    both = all(after[name] - before[name] > CHANGE for name in ("HasAns_f1", "NoAns_f1"))
    return both, "; ".join(_pair(f"layer {point['layer']:g}", point) for point in (before, after))


Judge = Callable[[pd.DataFrame], tuple[bool, str]]  # one curve of layers 1 to L in order -> holds, numbers
# statement -> when it holds, whether it is about the pretrained base, and how that is judged
STATEMENTS: dict[str, tuple[str, bool, Judge]] = {
    "fine-tuned F1 rises with depth": (
        f"the last layer is more than {RISE:g} points above the first, and the rank correlation of F1 with depth is at "
        f"least {RANKS:g}",
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
        f"means of the middle third against the lowest: HasAns F1 more than {CHANGE:g} point up, NoAns F1 as much down",
        False,
        _middle_layers_trade,
    ),
    "high layers gain both": (
        f"from the last layer of the middle third to the last of all, HasAns and NoAns F1 rise by more than {CHANGE:g} "
        "point each",
        False,
        _high_layers_gain_both,
    ),
}


def _thirds(curve: pd.DataFrame) -> list[pd.DataFrame]:
    """The lowest, middle and highest third of at least three layers."""
    cuts = [round(i * len(curve) / 3) for i in range(4)]
    return [curve.iloc[start:end] for start, end in pairwise(cuts)]


def _layers(part: pd.DataFrame) -> str:
    first, last = part["layer"].iloc[0], part["layer"].iloc[-1]
    return f"layer {first:g}" if first == last else f"layers {first:g}-{last:g}"


def _pair(where: str, scores: pd.Series) -> str:
    return f"{where}: HasAns F1 {scores['HasAns_f1']:.2f}, NoAns F1 {scores['NoAns_f1']:.2f}"

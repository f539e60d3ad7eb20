"""Points of curves with numbers to work out by hand: of 4 HasAns and 6 NoAns questions, F1 is 0.4 HasAns + 0.6 NoAns.

Always answering "no answer" scores 60.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stages.qa.report.results import mean_of_runs
from stages.qa.scoring.curves import LAYERS, SCORES
from stages.qa.scoring.question_scores import POINT

NAN = float("nan")


def point(model: str, layer: int, has: float, no: float, **changes: Any) -> dict[str, Any]:
    """A row of layers.csv: F1 `has` and `no` on HasAns and NoAns questions; final if of epoch 2 and rate 0.1."""
    row: dict[str, Any] = dict.fromkeys(LAYERS, NAN)
    row |= {"model": model, "protocol": "paper", "headline": True, "reading": "probe", "epoch": 2, "layer": layer}
    row |= {"run": model, "learning_rate": 0.1, "seed": 1, "total": 10, "HasAns_total": 4, "NoAns_total": 6}
    row |= {"HasAns_f1": has, "HasAns_exact": has / 2, "NoAns_f1": no, "NoAns_exact": no}
    row |= {"f1": (4 * has + 6 * no) / 10, "exact": (2 * has + 6 * no) / 10, "forced_f1": has + 5, "forced_exact": has}
    row |= changes
    return row | {"final": row["epoch"] != 1 and row["learning_rate"] != 0.2}


def gold_or_head(reading: str, model: str, layer: int, has: float, no: float, **changes: Any) -> dict[str, Any]:
    """A row of layers.csv for the own head or the gold spans."""
    return point(model, layer, has, no, reading=reading, epoch=NAN, learning_rate=NAN, seed=NAN, **changes)


def curves(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The frame `curves` of `Results`."""
    frame = pd.DataFrame(rows).astype({"layer": int})
    return mean_of_runs(frame[frame["final"]], POINT, SCORES)

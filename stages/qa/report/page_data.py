"""The numbers of the page's charts, as JSON: rows of a frame under named columns, missing ones null."""

from typing import Any

import pandas as pd

from stages.qa.report.findings import STEP_SCORES, final_points
from stages.qa.report.lineage import Lineage
from stages.qa.report.tables import best_layer, first_rate, mean_over_seeds, no_answer_score, protocols_of

METRICS = ["f1", "exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact", "forced_f1", "forced_exact"]
POINT = ["model", "protocol", "reading", "epoch", "layer"]
# Intervals: one row per model, protocol, reading, layer and metric, in percent. low, high: of the point alone; band_*:
# of the whole curve at once.
INTERVALS = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]


def chart_data(
    scores: pd.DataFrame,
    losses: pd.DataFrame,
    ladder: pd.DataFrame,
    comparison: pd.DataFrame,
    intervals: pd.DataFrame | None,
    family: Lineage,
    start: str,
    confidence: float,
) -> dict[str, Any]:
    """All that the charts draw: scores and losses of `tables`, `findings.ladder`, `published.compare`, INTERVALS.

    start: the metric that is shown first. confidence: of the intervals, a share; the page gets it in percent.
    """
    published = comparison[comparison["reading"] == "probe"]
    return {
        "models": list(dict.fromkeys(scores["model"])),
        "kinds": family.kinds,
        "start": start,
        "protocols": protocols_of(scores) or list(dict.fromkeys(scores["protocol"])),
        "no_answer": round(no_answer_score(scores), 4),
        "seeds": int(scores["seed"].nunique()),
        "curves": curve_rows(scores),
        "losses": _records(mean_over_seeds(first_rate(losses))[["model", "layer", "epoch", "loss"]]),
        "ladder": _records(ladder[["model", "at", "step", *STEP_SCORES]]),
        "published": _records(published[["model_prefix", "layer", "f1_published", "f1_ours"]]),
        "confidence": round(100 * confidence, 4),
        "intervals": None if intervals is None else _records(intervals[INTERVALS]),
    }


def curve_rows(scores: pd.DataFrame) -> dict[str, Any]:
    """Every point of the first learning rate: mean over the seeds; <metric>_min and _max if there are several."""
    rows = first_rate(scores)
    several = rows["seed"].nunique() > 1
    grouped = rows.groupby(POINT, sort=False, dropna=False)[METRICS]
    found = grouped.mean()
    if several:
        found = found.join(grouped.min().add_suffix("_min")).join(grouped.max().add_suffix("_max"))
    return _records(found.reset_index())


def _records(frame: pd.DataFrame) -> dict[str, Any]:
    rounded = frame.round(4).astype(object)
    return {"columns": list(frame.columns), "rows": rounded.where(frame.notna(), None).to_numpy().tolist()}


def result_rows(frame: pd.DataFrame, protocol: str) -> list[dict[str, Any]]:
    """A row per probed model: its points best (highest F1), forced (highest forced F1) and last; its head or None."""
    points = final_points(frame[frame["protocol"] == protocol])
    found = []
    for model, rows in points.groupby("model", sort=False):
        probes, heads = rows[rows["reading"] == "probe"], rows[rows["reading"] == "head"]
        if len(probes):
            peak = probes["forced_f1"].idxmax() if probes["forced_f1"].notna().any() else None
            found.append(
                {
                    "model": model,
                    "best": best_layer(probes).to_dict(),
                    "forced": None if peak is None else probes.loc[peak].to_dict(),
                    "last": probes.loc[probes["layer"].idxmax()].to_dict(),
                    "head": heads.iloc[0].to_dict() if len(heads) else None,
                }
            )
    return found

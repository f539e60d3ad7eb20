"""The numbers of the page's charts, as JSON: rows under named columns, missing values null."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.qa.report.charts import Chart
from stages.qa.report.probing_charts import similarity_rows
from stages.qa.report.results import (
    Results,
    at_final_rate,
    mean_of_runs,
    no_answer_score,
    probes_and_heads,
    probes_of,
    single_runs,
)

METRICS = ["f1", "exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact", "forced_f1", "forced_exact"]
POINT = ["model", "protocol", "reading", "epoch", "layer"]
INTERVALS = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]
SPLITS = {"all": "", "HasAns": "HasAns_", "NoAns": "NoAns_", "forced": "forced_"}  # split -> prefix of its columns


def chart_data(
    results: Results,
    charts: Mapping[str, Chart],
    ladder: pd.DataFrame,
    kinds: Mapping[str, str],
    start: str,
    confidence: float,
) -> dict[str, Any]:
    """All that the page draws: the curves that the reader's choices select, `charts`, the ladder and the similarity.

    ladder: of `findings.ladder`. kinds: model -> what it is. start: the metric that is shown first. confidence: of the
    intervals, a share.
    """
    return {
        "models": results.models,
        "kinds": kinds,
        "start": start,
        "protocols": results.protocols,
        "no_answer": round(no_answer_score(results.layers), 4),
        "runs": records(single_runs(results.layers)[["model", "protocol", "layer", "single", *METRICS]]),
        "curves": curve_rows(results.layers),
        "ladder": records(ladder),
        "confidence": round(100 * confidence, 4),
        "intervals": records(probes_and_heads(results.intervals)[INTERVALS]),
        "panels": {name: panels(chart) for name, chart in charts.items()},
        "similarity": records(similarity_rows(results)),
    }


def panels(chart: Chart) -> dict[str, Any]:
    """One chart."""
    return {
        "caption": chart.caption,
        "x": chart.x,
        "y": chart.y,
        "lines": chart.line_names(),
        "panels": chart.panel_names(),
        "across": chart.across,
        "levels": [[panel, label, round(float(value), 4)] for panel, label, value in chart.levels],
        **records(chart.points().drop(columns="single")),
    }


def curve_rows(layers: pd.DataFrame) -> dict[str, Any]:
    """Every epoch at the final learning rate: mean over runs and seeds."""
    return records(mean_of_runs(at_final_rate(probes_and_heads(layers)), POINT, METRICS))


def split_rows(curves: pd.DataFrame) -> pd.DataFrame:
    """Columns model, protocol, layer, split (of SPLITS), f1, exact: a row per point of the probes' final curves.

    No rows for a split without questions. For `dvc plots`.
    """
    parts = []
    for split, prefix in SPLITS.items():
        names = {f"{prefix}f1": "f1", f"{prefix}exact": "exact"}
        part = probes_of(curves)[["model", "protocol", "layer", *names]].rename(columns=names)
        part.insert(3, "split", split)
        parts.append(part.dropna(subset=["f1"]))
    return pd.concat(parts, ignore_index=True)


def records(frame: pd.DataFrame) -> dict[str, Any]:
    """Column names, and rows of values; numbers with four decimals."""
    rounded = frame.round(4).astype(object)
    return {"columns": list(frame.columns), "rows": rounded.where(frame.notna(), None).to_numpy().tolist()}

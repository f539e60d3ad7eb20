"""The numbers of the page's charts, as JSON: rows under named columns, missing values null.

Three kinds: the curves that the reader's choices select, panels (small multiples of lines) and maps (layer by layer).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stages.qa.report.evidence_figures import FEWEST, FEWEST_IN_BIN
from stages.qa.report.results import Results, at_final_rate, joined, no_answer_score, probes_of
from stages.qa.report.style import KINDS

METRICS = ["f1", "exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact", "forced_f1", "forced_exact"]
POINT = ["model", "protocol", "reading", "epoch", "layer"]
INTERVALS = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]
SPLITS = {"all": "", "HasAns": "HasAns_", "NoAns": "NoAns_", "forced": "forced_"}  # split -> prefix of its columns
QUALITY = {
    "nll": "loss at the gold start and end (nats)",
    "auprc": "answerability: area under PR (%)",
    "ece": "calibration error of no answer (%)",
    "crossfit_f1": "F1, threshold of other articles (%)",
}


def chart_data(
    results: Results,
    ladder: pd.DataFrame,
    comparison: pd.DataFrame,
    kinds: dict[str, str],
    start: str,
    confidence: float,
) -> dict[str, Any]:
    """All that the charts draw. ladder: of `findings.ladder`; comparison: of `published.compare`.

    kinds: model -> what it is. start: the metric that is shown first. confidence: of the intervals, a share.
    """
    return {
        "models": results.models,
        "kinds": kinds,
        "start": start,
        "protocols": results.protocols,
        "no_answer": round(no_answer_score(results.layers), 4),
        "seeds": int(results.layers["seed"].nunique()),
        "curves": curve_rows(results.layers),
        "ladder": records(ladder),
        "confidence": round(100 * confidence, 4),
        "intervals": records(results.intervals[INTERVALS]),
        "panels": panels(results, comparison),
        "maps": maps(results),
    }


def curve_rows(layers: pd.DataFrame) -> dict[str, Any]:
    """Every epoch at the final learning rate: mean over the seeds; <metric>_min and _max if there are several."""
    rows = at_final_rate(layers)
    points = rows.groupby(POINT, sort=False, dropna=False)[METRICS]
    frame = points.mean()
    if rows["seed"].nunique() > 1:
        frame = frame.join(points.min().add_suffix("_min")).join(points.max().add_suffix("_max"))
    return records(frame.reset_index())


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


def panels(results: Results, comparison: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Chart -> its panels, lines and axes; those of single scores are of the headline protocol."""
    differences = joined([results.steps, results.differences])
    differences = differences[differences["headline"] & differences["metric"].isin(KINDS)]
    names = differences["comparison"] + ": " + differences["metric"].map(KINDS)
    differences = differences.assign(panel=names, low=differences["band_low"], high=differences["band_high"])

    quality = probes_of(results.quality[results.quality["headline"]])
    quality = quality.assign(nll=quality[["start_nll", "end_nll"]].mean(axis=1))
    quality = quality.melt(["model", "layer"], list(QUALITY), var_name="panel").replace({"panel": QUALITY})

    published = comparison[comparison["reading"] == "probe"].rename(
        columns={"f1_published": "published", "f1_ours": "ours"}
    )
    published = published.melt(["model_prefix", "layer"], ["published", "ours"], var_name="line")

    layers = sorted(results.losses["layer"].unique().tolist())
    charts = {
        "differences": panel_chart(differences, results.models, line="model", value="estimate", y="points"),
        "quality": panel_chart(quality, results.models, line="model", value="value"),
        "calibration": calibration(results.reliability),
        "controls": panel_chart(results.controls, panel="model", line="control", value="forced_f1", y="forced F1 (%)"),
        "published": panel_chart(published, panel="model_prefix", line="line", value="value", y="F1 (%)"),
        "loss": panel_chart(
            results.losses, layers, panel="model", line="layer", x="epoch", value="loss", y="loss (nats)"
        ),
    }
    groups = probes_of(results.breakdown[results.breakdown["headline"]])
    for name, part in groups[groups["answerable"] >= FEWEST].groupby("breakdown", sort=False):
        chart = panel_chart(part, panel="model", line="group", value="forced_f1", y="forced F1 (%)")
        charts[f"by-{str(name).replace(' ', '-')}"] = chart
    return charts


def panel_chart(
    rows: pd.DataFrame,
    lines: Sequence[Any] | None = None,
    *,
    line: str,
    value: str,
    panel: str = "panel",
    x: str = "layer",
    y: str = "",
) -> dict[str, Any]:
    """A chart with a panel for each value of the column `panel`, and in it a line for each value of `line`.

    lines: all values of `line`, in the order of their colours; default: those of the rows. Columns low and high give a
    band. y: the title of its axis.
    """
    columns = {panel: "panel", line: "line", x: "x", value: "value"}
    columns |= {name: name for name in ("low", "high") if name in rows}
    points = rows[list(columns)].rename(columns=columns).dropna(subset=["value"])
    return {
        "x": x.replace("_", " "),
        "y": y,
        "lines": list(lines or points["line"].unique().tolist()),
        **records(points),
    }


def calibration(reliability: pd.DataFrame) -> dict[str, Any]:
    """Share of questions without an answer against the probability of no answer, of three layers and the head."""
    rows = reliability[reliability["headline"] & (reliability["questions"] >= FEWEST_IN_BIN)]
    probes = probes_of(rows)
    deepest = int(probes["layer"].max()) if len(probes) else 0
    chosen = {"first layer": 0, "middle layer": (deepest + 1) // 2, "last layer": deepest}
    parts = [probes[probes["layer"] == layer].assign(line=name) for name, layer in chosen.items()]
    parts.append(rows[rows["reading"] == "head"].assign(line="own head"))
    bins = pd.concat(parts).rename(columns={"null_probability": "probability of no answer"})
    share = "share without an answer"
    return panel_chart(bins, panel="model", line="line", x="probability of no answer", value="no_answer_share", y=share)


def maps(results: Results) -> dict[str, dict[str, Any]]:
    """Chart -> values by layer of a model and layer of the model it is compared with, or of itself."""
    return {"similarity": map_chart(results.similarity, "cka")}


def map_chart(rows: pd.DataFrame, value: str) -> dict[str, Any]:
    """A panel for each pair of models."""
    names = rows["model"].where(rows["model"] == rows["other"], rows["model"] + " and " + rows["other"])
    cells = rows.assign(panel=names, value=rows[value])
    return records(cells[["panel", "layer", "other_layer", "value"]])


def records(frame: pd.DataFrame) -> dict[str, Any]:
    """Column names, and rows of values; numbers with four decimals."""
    rounded = frame.round(4).astype(object)
    return {"columns": list(frame.columns), "rows": rounded.where(frame.notna(), None).to_numpy().tolist()}

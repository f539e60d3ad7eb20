"""What every chart shows: the page and the figures draw the same panels, lines, levels and captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.qa.report.results import Results, counts_note, joined, no_answer_score, of_readings, runs_note, single_runs

KINDS = {"f1": "all", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "HasAns, answer forced"}  # of question
FLOOR = 'always "no answer"'
FEWEST = 20  # questions with an answer, of a group that is drawn
QUALITY = {
    "nll": "loss at the gold start and end (nats)",
    "auprc": "answerability: area under PR (%)",
    "ece": "calibration error of no answer (%)",
    "crossfit_f1": "F1, threshold of other articles (%)",
}


@dataclass(frozen=True)
class Chart:
    """Small multiples of lines: a panel for each value of one column of the rows, in it a line for each of another."""

    caption: str  # the title; on further lines, what all panels have in common
    rows: pd.DataFrame  # columns low and high, where there are any, give a band
    panel: str  # names of columns of `rows`
    line: str
    value: str
    x: str = "layer"  # where there is a column `reading`, own heads stand apart from the layers
    y: str = ""  # title of the axis
    lines: Sequence[str] = ()  # in the order of their colours; default: those of the rows (layers: numbers, in order)
    panels: Sequence[str] = ()  # in order; default: those of the rows
    across: int = 0  # panels a row, where each column has its own y axis; 0: all panels have the same
    levels: Sequence[tuple[str, str, float]] = ()  # panel, label and height of horizontal lines

    def points(self) -> pd.DataFrame:
        """Columns panel, line, x (missing: an own head), value (never missing), low, high, single: a run of it."""
        names = {"panel": self.panel, "line": self.line, "x": self.x, "value": self.value}
        names |= {name: name for name in ("low", "high", "single")}
        rows = self.rows.reindex(columns=[*names.values(), "reading"])
        points = pd.DataFrame({name: rows[column] for name, column in names.items()})
        points["x"] = points["x"].where(rows["reading"] != "head")
        return points.dropna(subset=["value"]).sort_values("x", kind="stable", na_position="last")

    def line_names(self) -> list[Any]:
        """All lines, in the order of their colours."""
        names = list(self.lines) or self.rows[self.line].unique().tolist()
        return sorted(names) if self.line == "layer" else names

    def panel_names(self) -> list[str]:
        """All panels, in order."""
        return list(self.panels) or list(self.rows[self.panel].unique())


def curve_charts(results: Results, ladder: Sequence[str], confidence: float) -> dict[str, Chart]:
    """Name -> chart of the scores by layer. F1 and exact match are Figures 2 and 1 of the original report.

    "protocols" has a curve for each protocol of the ladder, or without one for each protocol of the study.
    """
    floor = no_answer_score(results.layers)
    floors = {"f1": floor, "exact": floor, "HasAns_f1": 0.0, "NoAns_f1": 100.0}
    about = counts_note(results.layers) + runs_note(results) + bands_from(results.intervals, confidence)
    points = curve_points(results)

    def scores(metrics: Mapping[str, str], title: str, row: str, line: str, lines: Sequence[str]) -> Chart:
        """A row of panels for each value of the column `row`, with a panel for each metric."""
        rows = points[points["metric"].isin(metrics) & points[line].isin(lines)]
        rows = rows.assign(panel=rows[row] + ": " + rows["metric"].map(metrics))
        names = rows[row].unique()
        panels = [f"{name}: {kind}" for name in names for kind in metrics.values()]
        floored = {metrics[metric]: floor for metric, floor in floors.items() if metric in metrics}
        levels = [(f"{name}: {kind}", FLOOR, floor) for name in names for kind, floor in floored.items()]
        caption, y = f"{title} of a probe on each layer\n{about}", f"{title} (%)"
        across = len(metrics) if len(metrics) > 1 else 0
        return Chart(
            caption, rows, "panel", line, "value", y=y, lines=lines, panels=panels, across=across, levels=levels
        )

    models, protocols = results.models, list(ladder or results.protocols)
    return {
        "f1_by_layer": scores({"f1": "F1"}, "F1", "protocol", "model", models),
        "exact_by_layer": scores({"exact": "exact match"}, "Exact match", "protocol", "model", models),
        "panels": scores(KINDS, "F1", "protocol", "model", models),
        "protocols": scores(KINDS, "F1", "model", "protocol", protocols),
    }


def curve_points(results: Results) -> pd.DataFrame:
    """The final curves and heads (keys, value in percent, band from low to high), and runs named in column `single`."""
    keys = ["model", "protocol", "reading", "layer", "metric"]
    points = of_readings(results.curves, "probe", "head").melt(keys[:-1], [*KINDS, "exact"], "metric", "value")
    singles = single_runs(results.layers).melt([*keys[:-1], "single"], [*KINDS, "exact"], "metric", "value")
    bands = results.intervals.set_index(keys)[["band_low", "band_high"]].set_axis(["low", "high"], axis=1)
    return joined([points.join(bands, on=keys), singles])


def evidence_charts(results: Results, comparison: pd.DataFrame, confidence: float) -> dict[str, Chart]:
    """Name -> chart of what stands behind the scores, under the headline protocol. comparison: `published.compare`."""
    quality = results.quality[results.quality["headline"]]
    point = quality.iloc[0]
    basis = f"{point['questions']:,.0f} questions of {point['articles']:,.0f} articles; {point['protocol']} protocol"
    published = comparison[comparison["reading"] == "probe"]
    published = published.rename(columns={"f1_published": "published", "f1_ours": "ours"})
    published = published.melt(["model_prefix", "layer"], ["published", "ours"], var_name="line")
    caption = "F1 of a probe on each layer, published and ours"
    return {
        "differences": differences(results, basis, confidence),
        "quality": quality_chart(quality, results.models, basis),
        **breakdowns(results.breakdown, basis),
        "settling": settling(results.breakdown, basis),
        "published": Chart(caption, published, "model_prefix", "line", "value", y="F1 (%)"),
    }


def differences(results: Results, basis: str, confidence: float) -> Chart:
    """Differences of F1 in points, with the band of the whole curve; a row of panels for each comparison."""
    rows = joined([results.steps, results.differences])
    rows = rows[rows["headline"].astype(bool) & rows["metric"].isin(KINDS)]
    names = [f"{comparison}: {kind}" for comparison in rows["comparison"].unique() for kind in KINDS.values()]
    title = f"F1 by layer: paired differences\n{basis}{bands_from(rows, confidence)}"
    rows = rows.assign(panel=rows["comparison"] + ": " + rows["metric"].map(KINDS), value=rows["estimate"])
    rows = rows.assign(low=rows["band_low"], high=rows["band_high"])
    models, levels = results.models, [(name, "no difference", 0.0) for name in names]
    return Chart(
        title, rows, "panel", "model", "value", y="points", lines=models, panels=names, across=len(KINDS), levels=levels
    )


def quality_chart(quality: pd.DataFrame, models: Sequence[str], basis: str) -> Chart:
    """Likelihood of the gold spans, ranking and calibration of answerability, F1 at a threshold chosen elsewhere."""
    with_answer = quality["auprc_chance"].iloc[0]  # percent of the questions, the same for all models and layers
    rows = of_readings(quality, "probe", "head")
    rows = rows.assign(nll=rows[["start_nll", "end_nll"]].mean(axis=1))
    rows = rows.melt(["model", "reading", "layer"], list(QUALITY), "panel").replace({"panel": QUALITY})
    caption = f"Beyond F1: each layer's probe\n{basis}"
    levels = [(QUALITY["auprc"], "by chance", with_answer), (QUALITY["crossfit_f1"], FLOOR, 100 - with_answer)]
    return Chart(caption, rows, "panel", "model", "value", lines=models, across=len(QUALITY), levels=levels)


def breakdowns(breakdown: pd.DataFrame, basis: str) -> dict[str, Chart]:
    """F1 with an answer forced, a line for each kind of question: a chart for each breakdown."""
    rows = of_readings(breakdown[breakdown["headline"] & (breakdown["answerable"] >= FEWEST)], "probe")
    charts = {}
    for name, part in rows.groupby("breakdown", sort=False):
        if part["group"].nunique() > 1:
            part = part.assign(line=part["group"] + part["answerable"].map(" ({:,.0f})".format))
            caption = f"F1 with an answer forced, by {name}\nin brackets: HasAns questions, {FEWEST} or more; {basis}"
            chart = Chart(caption, part, "model", "line", "forced_f1", y="forced F1 (%)")
            charts[f"by_{str(name).replace(' ', '_')}"] = chart
    return charts


def settling(breakdown: pd.DataFrame, basis: str) -> Chart:
    """How many questions the own head answers right from a layer on, a line for each question word."""
    rows = breakdown[breakdown["headline"] & (breakdown["reading"] == "lens") & (breakdown["questions"] >= FEWEST)]
    rows = rows[rows["breakdown"] == "question word"]
    rows = rows.assign(line=rows["group"] + rows["questions"].map(" ({:,.0f})".format).astype(str))
    caption = f"Questions that the lens answers right at a layer and at every deeper one\n{basis}"
    return Chart(caption, rows, "model", "line", "settled", y="questions (%)")


def bands_from(intervals: pd.DataFrame, confidence: float) -> str:
    """What the bands of a chart are and rest on, to end its caption; "" without intervals."""
    if intervals.empty:
        return ""
    return f"; {100 * confidence:g} % bands, from {intervals['clusters'].max():,.0f} {intervals['unit'].iloc[0]}s"

"""Figures of what stands behind the scores: differences, likelihood and calibration, kinds of question.

All of them show the headline protocol.
"""

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.qa.report import style
from stages.qa.report.results import Results, probes_of

FEWEST = 20  # questions with an answer, of a group that is drawn
FEWEST_IN_BIN = 10  # questions, of a bin that is drawn


def evidence_figures(results: Results, confidence: float) -> Iterator[tuple[str, Figure]]:
    """Yield file name without its ending, and figure, one after the other."""
    point = _headline(results.quality).iloc[0]
    basis = f"{point['questions']:,.0f} questions of {point['articles']:,.0f} articles; {point['protocol']} protocol"
    yield "differences", differences(results, basis, confidence)
    yield "quality", quality(results, basis)
    yield "reliability", reliability(results, basis)
    yield "breakdown", breakdown(results, basis)


@style.applied
def differences(results: Results, basis: str, confidence: float) -> Figure:
    """Differences of F1 in points, with the band of the whole curve; a row per comparison, a column per kind."""
    frames = [_headline(frame) for frame in (results.steps, results.differences) if len(frame)]
    frame = pd.concat(frames) if frames else results.steps
    look = style.looks(results.models)
    comparisons = list(frame["comparison"].unique()) or ["nothing to compare"]
    figure, grid = style.grid_of(len(comparisons), len(style.KINDS), (2.7, 2.2), sharey="row")
    for row, comparison in zip(grid, comparisons, strict=True):
        row[0].set_ylabel(fill(f"{comparison} (points)", 30))
        for axes, (metric, title) in zip(row, style.KINDS.items(), strict=True):
            axes.set_title(title)
            panel = frame[(frame["comparison"] == comparison) & (frame["metric"] == metric)]
            if panel.empty:
                style.say(axes, "none")
                continue
            style.draw_level(axes, 0, "_no difference")
            for model, curve in panel.groupby("model", sort=False):
                style.draw_curve(axes, curve, "estimate", model, look[model])
            style.layer_axis(axes, panel["layer"])
    style.finish(figure, f"F1 by layer: paired differences\n{basis}{style.bands_from(frame, confidence)}")
    return figure


@style.applied
def quality(results: Results, basis: str) -> Figure:
    """Likelihood of the gold spans, ranking and calibration of answerability, F1 at a threshold chosen elsewhere."""
    frame = _headline(results.quality)
    frame = frame.assign(nll=frame[["start_nll", "end_nll"]].mean(axis=1))
    figure, grid = style.grid_of(1, 4, (2.7, 2.4), sharey=False)
    nll, ranking, calibration, f1 = grid[0]
    nll.set(ylabel="nats", title="loss at the gold start and end")
    ranking.set(ylabel="%", title="answerability: area under PR")
    calibration.set(ylabel="%", title="calibration error of no answer")
    f1.set(ylabel="%", title="F1, threshold of other articles")
    for axes, column in ((nll, "nll"), (ranking, "auprc"), (calibration, "ece"), (f1, "crossfit_f1")):
        style.draw_readings(axes, frame, column, style.looks(results.models))
    with_answer = frame["auprc_chance"].iloc[0]  # percent of the questions, the same for all models and layers
    style.draw_level(ranking, with_answer, "by chance", ":")
    style.draw_level(f1, 100 - with_answer, style.FLOOR)
    style.finish(figure, "Beyond F1: each layer's probe\n" + basis)
    return figure


@style.applied
def reliability(results: Results, basis: str) -> Figure:
    """Share of questions without an answer against the probability of no answer; a panel per model."""
    frame = _headline(results.reliability)
    frame = frame[frame["questions"] >= FEWEST_IN_BIN]
    look = style.looks(["first layer", "middle layer", "last layer", "own head"])
    figure, panels = style.small_multiples(len(results.models), "share without an answer")
    for axes, model in zip(panels, results.models, strict=True):
        rows = frame[frame["model"] == model]
        probes = probes_of(rows)
        deepest = probes["layer"].max()
        curves = {
            "first layer": probes[probes["layer"] == probes["layer"].min()],
            "middle layer": probes[probes["layer"] == (deepest + 1) // 2],
            "last layer": probes[probes["layer"] == deepest],
            "own head": rows[rows["reading"] == "head"],
        }
        for label, bins in curves.items():
            if len(bins):
                axes.plot([], [], label=label, **look[label])
                _draw_bins(axes, bins.sort_values("null_probability"), look[label])
        axes.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=0.9, label="calibrated", zorder=1)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), title=fill(model, 30))
        axes.set(xlabel="probability of no answer", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.grid()
    marks_are = f"larger marks: more questions ({FEWEST_IN_BIN} or more)"
    style.finish(figure, f"Calibration of the probability of no answer\n{marks_are}\n{basis}")
    return figure


@style.applied
def breakdown(results: Results, basis: str) -> Figure:
    """F1 with an answer forced, by layer and kind of question; a row per model, a column per breakdown."""
    frame = probes_of(_headline(results.breakdown))
    kinds = frame["breakdown"].unique()
    frame = frame[frame["answerable"] >= FEWEST]
    figure, grid = style.grid_of(len(results.models), len(kinds), (2.5, 2.1), sharey="row")
    for row, model in zip(grid, results.models, strict=True):
        row[0].set_ylabel(f"{fill(model, 26)}\nforced F1 (%)")
        for axes, kind in zip(row, kinds, strict=True):
            panel = frame[(frame["model"] == model) & (frame["breakdown"] == kind)]
            if panel.empty:
                style.say(axes, "too few questions")
                continue
            look = style.looks(panel["group"].unique())
            for group, curve in panel.groupby("group", sort=False):
                style.draw_curve(axes, curve, "forced_f1", f"{group} ({curve['answerable'].iloc[0]:,.0f})", look[group])
            style.layer_axis(axes, panel["layer"])
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.set_title(kind)
    entries = [len(axes.get_legend_handles_labels()[1]) for axes in grid[-1]]
    for axes, count in zip(grid[-1], entries, strict=True):
        if count:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), fontsize=7)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 + 0.16 * max(entries))
    in_brackets = f"in brackets: HasAns questions, {FEWEST} or more"
    style.entitle(figure, f"F1 with an answer forced, by kind of question\n{in_brackets}\n{basis}")
    return figure


def _draw_bins(axes: Axes, bins: pd.DataFrame, look: Mapping[str, Any]) -> None:
    """Draw the bins of one curve, joined by a line; the more questions a bin holds, the larger its mark."""
    axes.plot(bins["null_probability"], bins["no_answer_share"], **{**look, "marker": ""})
    sizes = 8 + 70 * bins["questions"] / bins["questions"].sum()
    marks = {"color": look["color"], "marker": look["marker"], "alpha": 0.8, "linewidths": 0}
    axes.scatter(bins["null_probability"], bins["no_answer_share"], s=sizes, **marks)


def _headline(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the headline protocol."""
    return frame[frame["headline"]]

"""Figures of what stands behind the scores: differences, likelihood and calibration, kinds of question.

All are of one protocol, the study's first. Looks are those of `plotting`.
"""

from collections.abc import Iterator, Mapping
from itertools import cycle
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.qa.report.bands import draw_band
from stages.qa.report.curve_figures import LOOKS, layer_axis
from stages.qa.report.evidence import Evidence, shown_unit
from stages.qa.report.style import FLOOR, entitle, finish, grid_of, paper_style, say, small_multiples

KINDS = {"f1": "all", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "HasAns, answer forced"}
FEWEST = 20  # questions with an answer, of a group that is drawn
FEWEST_IN_BIN = 10  # questions, of a bin that is drawn


def evidence_figures(evidence: Evidence, protocol: str, confidence: float) -> Iterator[tuple[str, Figure]]:
    """File name without its ending, and figure, one after the other."""
    quality = _of(evidence.quality, protocol)
    basis = f"{quality['questions'].iloc[0]:,} questions of {quality['articles'].iloc[0]} articles; {protocol} protocol"
    yield "differences", differences(_of(evidence.differences, protocol), basis, confidence)
    yield "quality", quality_curves(quality, basis)
    yield "reliability", reliability(_of(evidence.reliability, protocol), basis)
    yield "breakdown", breakdown(_of(evidence.breakdown, protocol), basis)


@paper_style
def differences(frame: pd.DataFrame, basis: str, confidence: float) -> Figure:
    """Differences of F1 in points, with the band of the whole curve; a row per comparison, a column per kind."""
    shown, look = shown_unit(frame), looks(frame)
    comparisons = list(dict.fromkeys(shown["comparison"])) or ["nothing to compare"]
    figure, grid = grid_of(len(comparisons), len(KINDS), (2.7, 2.2), sharey="row")
    for row, comparison in zip(grid, comparisons, strict=True):
        row[0].set_ylabel(fill(f"{comparison} (points)", 30))
        for axes, (metric, title) in zip(row, KINDS.items(), strict=True):
            rows = shown[(shown["comparison"] == comparison) & (shown["metric"] == metric)]
            axes.set_title(title)
            if rows.empty:
                say(axes, "none")
                continue
            axes.axhline(0, color="#777777", linestyle="--", linewidth=0.9, zorder=1)
            for model, curve in rows.groupby("model", sort=False):
                axes.plot(curve["layer"], curve["estimate"], label=model, **look[model])
                band = {"band_low": f"{metric}_band_low", "band_high": f"{metric}_band_high"}
                draw_band(axes, curve.rename(columns=band), metric, look[model]["color"])
            layer_axis(axes, rows["layer"])
    caption = "F1 by layer: paired differences\n" + basis
    if len(shown):
        caption += f"; {100 * confidence:g} % bands, from {shown['clusters'].iloc[0]:,} {shown['unit'].iloc[0]}s"
    finish(figure, caption)
    return figure


@paper_style
def quality_curves(frame: pd.DataFrame, basis: str) -> Figure:
    """Likelihood of the gold spans, ranking and calibration of answerability, F1 at a threshold chosen elsewhere."""
    look = looks(frame)
    frame = frame.assign(nll=frame[["start_nll", "end_nll"]].mean(axis=1))
    chosen = "held_out_f1" if frame["held_out_f1"].notna().any() else "crossfit_f1"
    panels = {
        "nll": ("nats", "loss at the gold start and end"),
        "auprc": ("%", "answerability: area under PR"),
        "ece": ("%", "calibration error of no answer"),
        chosen: ("%", f"F1, threshold of {'training' if chosen == 'held_out_f1' else 'other'} articles"),
    }
    figure, grid = grid_of(1, len(panels), (2.7, 2.4), sharey=False)
    for axes, (name, (unit, title)) in zip(grid.flat, panels.items(), strict=True):
        _curves_and_heads(axes, frame, name, look)
        axes.set(ylabel=unit, title=title)
        chance = frame["auprc_chance"].iloc[0]  # the share of questions with an answer
        if name in ("auprc", chosen):
            height, label, dash = (chance, "by chance", ":") if name == "auprc" else (100 - chance, FLOOR, "--")
            axes.axhline(height, color="#777777", linestyle=dash, linewidth=0.9, label=label, zorder=1)
    finish(figure, "Beyond F1: each layer's probe\n" + basis)
    return figure


@paper_style
def reliability(frame: pd.DataFrame, basis: str) -> Figure:
    """Share of questions without an answer against the probability of no answer; a panel per model."""
    models, frame = list(dict.fromkeys(frame["model"])), frame[frame["questions"] >= FEWEST_IN_BIN]
    figure, panels = small_multiples(len(models), "share without an answer")
    for axes, model in zip(panels, models, strict=True):
        own = frame[frame["model"] == model]
        probes, heads = own[own["reading"] == "probe"], own[own["reading"] == "head"]
        deepest = probes["layer"].max()
        drawn = {
            "first layer": probes[probes["layer"] == probes["layer"].min()],
            "middle layer": probes[probes["layer"] == (deepest + 1) // 2],
            "last layer": probes[probes["layer"] == deepest],
            "own head": heads,
        }
        for (label, bins), look in zip(drawn.items(), LOOKS, strict=False):
            if len(bins):
                axes.plot([], [], label=label, **look)
                axes.plot(bins["null_probability"], bins["no_answer_share"], **{**look, "marker": ""})
                sizes = 8 + 70 * bins["questions"] / bins["questions"].sum()
                marks = {"color": look["color"], "marker": str(look["marker"]), "alpha": 0.8, "linewidths": 0}
                axes.scatter(bins["null_probability"], bins["no_answer_share"], s=sizes, **marks)
        axes.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=0.9, label="calibrated", zorder=1)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), title=fill(model, 30))
        axes.set(xlabel="probability of no answer", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.grid()
    marks_are = f"larger marks: more questions ({FEWEST_IN_BIN} or more)"
    finish(figure, f"Calibration of the probability of no answer\n{marks_are}\n{basis}")
    return figure


@paper_style
def breakdown(frame: pd.DataFrame, basis: str) -> Figure:
    """F1 with an answer forced, by layer and kind of question; a row per model, a column per breakdown."""
    probes = frame[(frame["reading"] == "probe") & (frame["answerable"] >= FEWEST)]
    models, kinds = list(dict.fromkeys(frame["model"])), list(dict.fromkeys(frame["breakdown"]))
    figure, grid = grid_of(len(models), len(kinds), (2.5, 2.1), sharey="row")
    for row, model in zip(grid, models, strict=True):
        row[0].set_ylabel(f"{fill(model, 26)}\nforced F1 (%)")
        for axes, kind in zip(row, kinds, strict=True):
            rows = probes[(probes["model"] == model) & (probes["breakdown"] == kind)]
            if rows.empty:
                say(axes, "too few questions")
                continue
            for (group, curve), look in zip(rows.groupby("group", sort=False), cycle(LOOKS), strict=False):
                count = int(curve["answerable"].iloc[0])
                axes.plot(curve["layer"], curve["forced_f1"], label=f"{group} ({count:,})", **look)
            layer_axis(axes, rows["layer"])
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.set_title(kind)
    for axes in grid[-1]:
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), fontsize=7)
    entries = max(len(axes.get_legend_handles_labels()[1]) for axes in grid[-1])
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 + 0.16 * entries)
    in_brackets = f"in brackets: HasAns questions, {FEWEST} or more"
    entitle(figure, f"F1 with an answer forced, by kind of question\n{in_brackets}\n{basis}")
    return figure


def looks(frame: pd.DataFrame) -> dict[str, Any]:
    """Model -> its look, as in the figures of `plotting` if the models come in the same order."""
    return dict(zip(dict.fromkeys(frame["model"]), cycle(LOOKS), strict=False))


def _of(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    return frame[frame["protocol"] == protocol]


def _curves_and_heads(axes: Axes, frame: pd.DataFrame, name: str, look: Mapping[str, Any]) -> None:
    """A curve per model; own heads in a strip on the right."""
    probes, heads = (frame[(frame["reading"] == reading) & frame[name].notna()] for reading in ("probe", "head"))
    if probes.empty:
        return say(axes, "no such questions")
    for model, curve in probes.groupby("model", sort=False):
        axes.plot(curve["layer"], curve[name], label=model, **look[model])
    strip = probes["layer"].max() + max(1.0, 0.1 * probes["layer"].max())
    for model, value in heads.groupby("model", sort=False)[name].first().items():
        axes.plot([strip], [value], **{**look[model], "linestyle": "", "markersize": 5.5, "fillstyle": "none"})
    return layer_axis(axes, probes["layer"], None if heads.empty else strip)

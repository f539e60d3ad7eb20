"""Figures of scores by layer and of training losses; and `study_figures`, all figures of a study by name."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.report import style
from stages.qa.report.evidence_figures import evidence_figures
from stages.qa.report.probing_figures import probing_figures
from stages.qa.report.results import (
    Results,
    at_final_rate,
    mean_over_seeds,
    no_answer_score,
    probes_of,
    protocols_of,
    question_counts,
)

CURVE = ["model", "protocol", "reading", "layer", "metric"]  # a row of `drawn_points` each
SEQUENCE = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # its last tenth is too pale for lines


def study_figures(results: Results, ladder: Sequence[str], confidence: float) -> Iterator[tuple[str, Figure]]:
    """Yield file name without its ending, and figure, one after the other.

    `protocols` holds a curve for each protocol of the ladder, or without one for each protocol of the study.
    """
    yield "f1_by_layer", score_by_layer(results, "f1", "F1", confidence)
    yield "exact_by_layer", score_by_layer(results, "exact", "Exact match", confidence)
    yield "panels", panels(results, confidence)
    yield "epochs", epochs(results)
    yield "loss_curves", loss_curves(results.losses)
    yield "protocols", protocols(results, ladder or results.protocols, confidence)
    yield from evidence_figures(results, confidence)
    yield from probing_figures(results)


@style.applied
def score_by_layer(results: Results, metric: str, name: str, confidence: float) -> Figure:
    """A score over all questions, in percent: a panel per protocol, a curve per model.

    F1 and exact match are Figures 2 and 1 of the original report.
    """
    titles, points, look = _titles(results.protocols), drawn_points(results), style.looks(results.models)
    figure, grid = style.grid_of(1, len(titles), (6.0 if len(titles) == 1 else 4.2, 3.1), sharey="row")
    grid[0, 0].set_ylabel(f"{name} (%)")
    for axes, protocol in zip(grid[0], titles, strict=True):
        panel = points[(points["protocol"] == protocol) & (points["metric"] == metric)]
        style.draw_readings(axes, panel, "score", look)
        style.draw_level(axes, no_answer_score(results.layers), style.FLOOR)
        axes.set_title(titles[protocol])
    caption = _caption(f"{name} of a probe on each layer", results.layers[results.layers["final"]])
    style.finish(figure, caption + style.bands_from(results.intervals, confidence))
    return figure


def panels(results: Results, confidence: float) -> Figure:
    """F1 on each kind of question: a row per protocol, a column per kind, a curve per model."""
    caption = _caption("F1 of a probe on each layer", results.layers[results.layers["final"]])
    caption += style.bands_from(results.intervals, confidence)
    return _four_scores(results, "protocol", _titles(results.protocols), "model", results.models, caption)


def protocols(results: Results, ladder: Sequence[str], confidence: float) -> Figure:
    """F1 on each kind of question: a row per model, a column per kind, a curve per protocol of the ladder."""
    caption = f"F1 of a probe on each layer, by protocol\n{question_counts(results.layers)}"
    caption += style.bands_from(results.intervals, confidence)
    titles = {model: fill(model, 34) for model in results.models}
    return _four_scores(results, "model", titles, "protocol", ladder, caption)


@style.applied
def epochs(results: Results) -> Figure:
    """F1 by layer after each epoch (if there are many, after about seven); a panel per model and protocol."""
    probes = probes_of(at_final_rate(results.layers))
    points = mean_over_seeds(probes, ["model", "protocol", "epoch", "layer"], ["f1"])
    curves, several = list(points.groupby(["model", "protocol"], sort=False)), len(results.protocols) > 1
    figure, grid = style.small_multiples(len(curves), "F1 (%)")
    numbers = sorted(points["epoch"].dropna().unique())
    chosen = sorted({*numbers[:: ceil(len(numbers) / 6) or 1], *numbers[-1:]})
    for axes, ((model, protocol), rows) in zip(grid, curves, strict=True):
        for i, epoch in enumerate(chosen):
            look = {"color": SEQUENCE(1 - (i + 1) / len(chosen)), "marker": style.MARKERS[i % len(style.MARKERS)]}
            style.draw_curve(axes, rows[rows["epoch"] == epoch], "f1", f"epoch {epoch:g}", look)
        optimum = rows[rows["epoch"].isna()]
        if len(optimum):
            style.draw_curve(axes, optimum, "f1", "optimum", {"color": style.COLOURS[1], "marker": "*"})
        style.draw_level(axes, no_answer_score(results.layers), style.FLOOR)
        style.layer_axis(axes, rows["layer"])
        axes.set_title(fill(f"{model} ({protocol})" if several else model, 30))
    style.finish(figure, _caption("F1 of a probe on each layer, by epoch", probes))
    return figure


@style.applied
def loss_curves(losses: pd.DataFrame) -> Figure:
    """Training loss against the epoch; a panel per model, a line per layer."""
    curves = list(losses.groupby("model", sort=False))
    figure, grid = style.small_multiples(max(len(curves), 1), "loss (nats)")
    style.entitle(figure, "Training loss of the probes\nmean cross-entropy of start and end position")
    if not curves:
        style.say(grid[0], "no probe was trained by gradient steps")
        return figure
    colours = ScalarMappable(Normalize(0, max(losses["layer"].max(), 1)), SEQUENCE)
    for axes, (model, layers) in zip(grid, curves, strict=True):
        for layer, curve in layers.sort_values("epoch").groupby("layer"):
            axes.plot(curve["epoch"], curve["loss"], color=colours.to_rgba(layer), linewidth=1)
        axes.set(title=fill(model, 30), xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    whole = MaxNLocator(integer=True)
    figure.colorbar(colours, ax=list(grid), aspect=30, pad=0.02, ticks=whole, label="layer (0 = embeddings)")
    return figure


def drawn_points(results: Results) -> pd.DataFrame:
    """The final curves: columns CURVE, score (mean over the seeds), lowest, highest (seed), band_low, band_high.

    Scores in percent; bands are missing where there is no interval.
    """
    scores, point = [*style.KINDS, "exact"], CURVE[:-1]
    means = results.curves.melt(point, scores, "metric", "score")
    final = results.layers[results.layers["final"]].melt(point, scores, "metric", "score")
    spread = final.groupby(CURVE)["score"].agg(lowest="min", highest="max")
    bands = results.intervals.set_index(CURVE)[["band_low", "band_high"]]
    return means.join(spread, on=CURVE).join(bands, on=CURVE)


@style.applied
def _four_scores(
    results: Results, row_by: str, titles: Mapping[str, str], curve_by: str, names: Sequence[str], caption: str
) -> Figure:
    """F1 on each kind of question, a column each; a row for each value of `row_by`, a curve for each of `curve_by`.

    row_by, curve_by: columns of `drawn_points`. titles: value of `row_by` -> title. names: values of `curve_by`.
    """
    points = drawn_points(results)
    floors = {"f1": no_answer_score(results.layers), "HasAns_f1": 0.0, "NoAns_f1": 100.0}
    figure, grid = style.grid_of(len(titles), len(style.KINDS), (2.7, 2.2), sharey="col")
    for row, (value, title) in zip(grid, titles.items(), strict=True):
        for axes, (metric, kind) in zip(row, style.KINDS.items(), strict=True):
            panel = points[(points[row_by] == value) & (points["metric"] == metric)]
            style.draw_readings(axes, panel, "score", style.looks(names), curve_by)
            if metric in floors and axes.lines:
                style.draw_level(axes, floors[metric], style.FLOOR)
            axes.set_title(f"{title}\n{kind}".strip())
        row[0].set_ylabel("F1 (%)")
    style.finish(figure, caption)
    return figure


def _titles(protocols: Sequence[str]) -> dict[str, str]:
    """Protocol -> title of its panel; the caption names a single one."""
    return {name: fill(name, 34) if len(protocols) > 1 else "" for name in protocols}


def _caption(title: str, layers: pd.DataFrame) -> str:
    """`title`, then what all panels have in common: of rows of `Results.layers`."""
    probes, protocols = probes_of(layers), protocols_of(layers)
    epoch, seeds = probes["epoch"].unique(), probes["seed"].nunique()
    lines = title + (f" ({protocols[0]} protocol)" if len(protocols) == 1 else "") + "\n" + question_counts(layers)
    lines += f"; epoch {epoch[0]:g}" if len(epoch) == 1 and not np.isnan(epoch[0]) else ""
    return lines + (f"; mean of {seeds} seeds" if seeds > 1 else "")

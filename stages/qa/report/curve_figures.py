"""Figures of scores by layer and of training losses.

Every function takes a frame of `tables` and returns a matplotlib Figure. Colours, markers and line
styles all differ, so that curves can be told apart in grey and by the colour-blind; the colours are those of Okabe and
Ito (2008), then three of Paul Tol's "muted" scheme.
"""

from collections.abc import Mapping
from itertools import cycle
from math import ceil
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.report.bands import basis, draw_band, draw_bar
from stages.qa.report.style import FLOOR, SEEDS, entitle, finish, grid_of, paper_style, say, small_multiples
from stages.qa.report.tables import (
    first_rate,
    last_epoch,
    mean_over_seeds,
    no_answer_score,
    protocols_of,
    question_counts,
)

COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933", "#882255", "#332288"
MARKERS = "os^DvPX<>*"
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)))
LOOKS = [{"color": c, "marker": m, "linestyle": d} for c, m, d in zip(COLOURS, MARKERS, cycle(DASHES), strict=False)]
SEQUENCE = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # its last tenth is too pale for lines


def f1_by_layer(frame: pd.DataFrame) -> Figure:
    """F1 over all questions after the last epoch (Figure 2 of the original report); a panel per protocol."""
    return _curves(frame, "F1", {"f1": ""})


def exact_by_layer(frame: pd.DataFrame) -> Figure:
    """Exact match over all questions after the last epoch (Figure 1 of the original report); a panel per protocol."""
    return _curves(frame, "Exact match", {"exact": ""})


def panels(frame: pd.DataFrame, caption: str | None = None) -> Figure:
    """F1 on all, HasAns and NoAns questions, and on HasAns questions with an answer forced; a row per protocol."""
    names = {"f1": "all", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "HasAns, answer forced"}
    return _curves(frame, "F1", names, caption)


@paper_style
def epochs(frame: pd.DataFrame) -> Figure:
    """F1 by layer after each epoch (of many, after some seven); a panel per model and protocol."""
    probes = mean_over_seeds(first_rate(frame[frame["reading"] == "probe"]))
    curves, several = list(probes.groupby(["model", "protocol"], sort=False)), len(protocols_of(frame)) > 1
    figure, grid = small_multiples(len(curves), "F1 (%)")
    numbers = sorted(probes["epoch"].dropna().unique())
    shown = sorted({*numbers[:: ceil(len(numbers) / 6) or 1], *numbers[-1:]})
    for axes, ((model, protocol), points) in zip(grid, curves, strict=True):
        for i, epoch in enumerate(shown):
            curve = points[points["epoch"] == epoch]
            look = {"color": SEQUENCE(1 - (i + 1) / len(shown)), "marker": MARKERS[i % len(MARKERS)]}
            axes.plot(curve["layer"], curve["f1"], label=f"epoch {epoch:g}", **look)
        if not (fit := points[points["epoch"].isna()]).empty:
            axes.plot(fit["layer"], fit["f1"], label="optimum", color=COLOURS[1], marker="*")
        _floor_line(axes, no_answer_score(frame))
        layer_axis(axes, points["layer"])
        axes.set_title(fill(f"{model} ({protocol})" if several else model, 30))
    finish(figure, _caption("F1 of a probe on each layer, by epoch", frame))
    return figure


@paper_style
def loss_curves(losses: pd.DataFrame) -> Figure:
    """Training loss against the epoch; a panel per model, a line per layer."""
    curves = list(mean_over_seeds(first_rate(losses)).groupby("model", sort=False))
    figure, grid = small_multiples(max(len(curves), 1), "loss (nats)")
    entitle(figure, "Training loss of the probes\nmean cross-entropy of start and end position")
    if not curves:
        say(grid[0], "no probe was trained by gradient steps")
        return figure
    colours = ScalarMappable(Normalize(0, max(losses["layer"].max(), 1)), SEQUENCE)
    for axes, (model, layers) in zip(grid, curves, strict=True):
        for layer, curve in layers.groupby("layer"):
            axes.plot(curve["epoch"], curve["loss"], color=colours.to_rgba(layer), linewidth=1)
        axes.set(title=fill(model, 30), xlabel="epoch", xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    bar = figure.colorbar(colours, ax=list(grid), aspect=30, pad=0.02, ticks=MaxNLocator(integer=True))
    bar.set_label("layer (0 = embeddings)")
    return figure


@paper_style
def heat_map(frame: pd.DataFrame) -> Figure:
    """F1 of every model (rows) at every layer (columns) after the last epoch; a block per protocol."""
    final, protocols = first_rate(last_epoch(frame)), protocols_of(frame)
    probes = mean_over_seeds(final[final["reading"] == "probe"])
    models = list(dict.fromkeys(probes["model"]))
    layers = range(int(probes["layer"].max()) + 1)
    width = 0.065 * max(map(len, models)) + 0.37 * len(layers) + 1.1
    height = (0.27 * len(models) + 0.6) * len(protocols) + 0.2
    figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
    grid, norm = figure.subplots(len(protocols), 1, squeeze=False), Normalize(probes["f1"].min(), probes["f1"].max())
    for axes, protocol in zip(grid.flat, protocols, strict=True):
        values = probes[probes["protocol"] == protocol].pivot(index="model", columns="layer", values="f1")
        cells = values.reindex(index=models, columns=layers).to_numpy()
        axes.imshow(np.ma.masked_invalid(cells), cmap="viridis", norm=norm, aspect="auto")
        for (row, column), value in np.ndenumerate(cells):
            if not np.isnan(value):
                ink = "black" if norm(value) > 0.6 else "white"
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=6.5)
        axes.set(yticks=range(len(models)), yticklabels=models, title=protocol if len(protocols) > 1 else "")
        axes.set_xticks(layers, [_tick(layer) for layer in layers])
        axes.set_xlabel("layer", labelpad=-8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(grid.flat), pad=0.01, fraction=0.04)
    bar.set_label("F1 (%)")
    entitle(figure, _caption("F1 of a probe on each layer", final))
    return figure


@paper_style
def _curves(frame: pd.DataFrame, name: str, metrics: Mapping[str, str], caption: str | None = None) -> Figure:
    """A panel per protocol and metric (column -> title), after the last epoch; several metrics: a row per protocol."""
    final, protocols = first_rate(last_epoch(frame)), protocols_of(frame)
    floors = dict.fromkeys(("f1", "exact"), no_answer_score(frame)) | {"HasAns_f1": 0.0, "NoAns_f1": 100.0}
    look = dict(zip(dict.fromkeys(frame["model"]), cycle(LOOKS), strict=False))
    if len(metrics) > 1:
        figure, grid = grid_of(len(protocols), len(metrics), (2.7, 2.2), sharey="col")
    else:
        figure, grid = grid_of(1, len(protocols), (6.0 if len(protocols) == 1 else 4.2, 3.1), sharey="row")
    panels = [(protocol, metric) for protocol in protocols for metric in metrics]
    for axes, (protocol, metric) in zip(grid.flat, panels, strict=True):
        _panel(axes, final[final["protocol"] == protocol], metric, look, floors.get(metric))
        axes.set_title("\n".join(filter(None, (fill(protocol, 34) if len(protocols) > 1 else "", metrics[metric]))))
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{name} (%)")
    finish(figure, (caption or _caption(f"{name} of a probe on each layer", final)) + basis(final))
    return figure


def _panel(axes: Axes, final: pd.DataFrame, metric: str, look: Mapping[str, Any], floor: float | None) -> None:
    """One curve per model, with a band from the lowest to the highest seed; own QA heads in a strip on the right."""
    probes, heads = (final[(final["reading"] == reading) & final[metric].notna()] for reading in ("probe", "head"))
    if probes.empty:
        return say(axes, "no such questions")
    for model, rows in probes.groupby("model", sort=False):
        curve = rows.groupby("layer")[metric].agg(["mean", "min", "max"])
        axes.plot(curve.index, curve["mean"], label=model, **look[model])
        if (curve["min"] < curve["max"]).any():
            band = {"color": look[model]["color"], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(curve.index, curve["min"], curve["max"], label=SEEDS, **band)
        draw_band(axes, rows, metric, look[model]["color"])
    deepest = int(probes["layer"].max())
    strip = deepest + max(1.0, 0.1 * deepest)
    for model, score in heads.groupby("model", sort=False)[metric].mean().items():
        hollow = {**look[model], "linestyle": "", "markersize": 5.5, "fillstyle": "none"}
        label = f"_own head of {model}" if model in set(probes["model"]) else model  # in the legend if without a curve
        axes.plot([strip], [score], label=label, **hollow)
        draw_bar(axes, strip, heads[heads["model"] == model], metric, look[model]["color"])
    if floor is not None:
        _floor_line(axes, floor)
    return layer_axis(axes, probes["layer"], None if heads.empty else strip)


def _floor_line(axes: Axes, score: float) -> None:
    axes.axhline(score, color="#777777", linestyle="--", linewidth=0.9, label=FLOOR, zorder=1)


def layer_axis(axes: Axes, layers: pd.Series, strip: float | None = None) -> None:
    """Whole layers as ticks, as many as fit; `strip` is where own heads stand, if there are any."""
    first, last = int(layers.min()), int(layers.max())
    room = axes.bbox.width / 20  # ticks; the layout is made at matplotlib's 100 dots per inch
    step = next((step for step in (1, 2, 3, 4, 6, 8) if (last - first) / step < room), 12)
    ticks: list[float] = list(range(step * ceil(first / step), last + 1, step))
    labels = [_tick(tick) for tick in ticks]
    if strip is not None:
        ticks, labels = [*ticks, strip], [*labels, "\nown head"]
        axes.axvline((last + strip) / 2, color="#cccccc", linewidth=0.6, zorder=0)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("layer", labelpad=-8)  # on the second line of the tick labels
    axes.grid(axis="y")


def _tick(layer: float) -> str:
    return f"{layer:g}\n{'emb.' if layer == 0 else ''}"


def _caption(title: str, frame: pd.DataFrame) -> str:
    """`title`, then what all panels have in common."""
    probes, protocols = frame[frame["reading"] == "probe"], protocols_of(frame)
    epoch, seeds = probes["epoch"].unique(), probes["seed"].nunique()
    lines = title + (f" ({protocols[0]} protocol)" if len(protocols) == 1 else "") + "\n" + question_counts(frame)
    lines += f"; epoch {epoch[0]:g}" if len(epoch) == 1 and not np.isnan(epoch[0]) else ""
    return lines + (f"; mean of {seeds} seeds" if seeds > 1 else "")

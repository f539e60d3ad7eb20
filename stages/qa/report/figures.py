"""Charts as figures: small multiples of lines, and heat maps. Nothing here knows what a chart shows.

No figure uses pyplot or its global state, and a user's matplotlibrc changes nothing. Curves differ in colour (Okabe and
Ito, 2008, then Paul Tol's "muted" scheme), marker and dashes, to be told apart in grey and by colour-blind readers.
"""

from collections.abc import Collection, Mapping
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.files import replaced
from stages.qa.report.charts import Chart
from stages.qa.report.probing_charts import similarity_caption, similarity_rows
from stages.qa.report.results import Results

BAND = "band of the whole curve"
TITLE = 34  # characters of a panel's title on a line
COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933", "#882255", "#332288"
MARKERS = "os^DvPX<>*"
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)))
GREY = "#777777"
PANEL = 2.7, 2.3  # inches
RC: dict[str, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.titlelocation": "left"}
RC |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False}
RC |= {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "grid.linewidth": 0.5}
RC |= {"grid.color": "#e6e6e6", "legend.handlelength": 3.2, "lines.linewidth": 1.3, "lines.markersize": 3.8}
RC |= {"svg.hashsalt": "", "pdf.fonttype": 42}  # the same ids in every SVG; fonts in a PDF that journals take
applied = style.context(["default", RC])


def write_figures(charts: Mapping[str, Chart], results: Results, folder: Path, format: str) -> None:
    """FOLDER/<name of a chart>.<format> for each chart with points, and similarity.<format>."""
    figures = {name: lines_figure(chart) for name, chart in charts.items() if len(chart.points())}
    figures["similarity"] = maps_figure(similarity_rows(results), similarity_caption(results.similarity))
    for name, figure in figures.items():
        save(figure, folder / f"{name}.{format}")


@applied
def lines_figure(chart: Chart) -> Figure:
    """Small multiples: one legend for all panels below, the caption above."""
    points, styles = chart.points(), looks(chart.line_names())
    names = chart.panel_names() or [""]
    figure, grid = canvas(len(names), chart.across or 4, sharey="col" if chart.across else "all")
    for axes, name in zip(grid.flat, names, strict=False):
        draw_panel(axes, chart, points[points["panel"] == name], styles)
        for panel, label, height in chart.levels:
            if panel == name and axes.lines:
                axes.axhline(height, color=GREY, linestyle="--", linewidth=0.9, label=label, zorder=1)
        axes.set_title(fill(str(name), TITLE))
    for axes in grid[:, 0]:
        axes.set_ylabel(chart.y)
    finish(figure, chart.caption, last={BAND, *(label for _, label, _ in chart.levels)})
    return figure


def draw_panel(axes: Axes, chart: Chart, points: pd.DataFrame, styles: dict[Any, dict[str, Any]]) -> None:
    """A line for each of `styles`, with its band and thin single runs; own heads in a strip on the right."""
    singles, points = points[points["single"].notna()], points[points["single"].isna()]
    curves, heads = points[points["x"].notna()], points[points["x"].isna()]
    if curves.empty:
        axes.text(0.5, 0.5, "nothing to show", ha="center", va="center", color=GREY, transform=axes.transAxes)
        axes.set_xticks([])
        return
    deepest = curves["x"].max()
    strip = deepest + max(1.0, 0.1 * deepest)
    for name, look in styles.items():
        curve, head = curves[curves["line"] == name], heads[heads["line"] == name]
        label = f"layer {name}" if isinstance(name, int) else str(name)
        if len(curve):
            axes.plot(curve["x"], curve["value"], label=label, **look)
        for _, run in singles[singles["line"] == name].groupby("single"):
            axes.plot(run["x"], run["value"], color=look["color"], linewidth=0.5, alpha=0.7)
        if curve["low"].notna().any():
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=look["color"], alpha=0.15, linewidth=0)
            axes.fill_between([], [], color=GREY, alpha=0.25, linewidth=0, label=BAND)  # in grey for the legend
        if len(head):
            hollow = {**look, "linestyle": "", "markersize": 5.5, "fillstyle": "none"}
            axes.plot([strip], head["value"], label="_own head" if len(curve) else label, **hollow)
            axes.vlines([strip], head["low"], head["high"], color=look["color"], alpha=0.5, linewidth=1)
    axes.grid(axis="y")
    if chart.x == "layer":
        layer_axis(axes, curves["x"], strip if len(heads) else None)
    else:
        axes.set_xlabel(chart.x)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))


@applied
def maps_figure(cells: pd.DataFrame, caption: str) -> Figure:
    """Heat maps of columns panel, layer, other_layer and value: layers to the right, other layers upwards."""
    panels = list(cells.groupby("panel", sort=False))
    norm = Normalize(0, max(cells["value"].max(), 1e-9))
    figure, grid = canvas(max(len(panels), 1), 4, sharey=False)
    for axes, (name, rows) in zip(grid.flat, panels, strict=False):
        values = rows.pivot(index="other_layer", columns="layer", values="value").to_numpy()
        axes.imshow(values, cmap="viridis", norm=norm, origin="lower")
        axes.set(title=fill(str(name), TITLE), xlabel="layer", ylabel="layer of the second")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=figure.axes, aspect=30, pad=0.02)
    finish(figure, caption)
    return figure


def looks(names: list[Any]) -> dict[Any, dict[str, Any]]:
    """Colour, marker and dashes of the line of each name, in order; numbers are coloured in sequence, without marks."""
    if names and isinstance(names[0], int):
        shades = colormaps["viridis"](np.linspace(0, 0.9, len(names)))  # its last tenth is too pale for lines
        return {name: {"color": tuple(shade)} for name, shade in zip(names, shades, strict=True)}
    styles = {}
    for i, name in enumerate(names):
        colour, marker, dashes = (kind[i % len(kind)] for kind in (COLOURS, MARKERS, DASHES))
        styles[name] = {"color": colour, "marker": marker, "linestyle": dashes}
    return styles


@applied
def save(figure: Figure, path: Path) -> None:
    """Write a PNG (200 dots per inch), SVG or PDF, as the ending of `path` says: one figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    unwanted = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]
    with replaced(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=200, metadata={unwanted: None})


def canvas(count: int, across: int, sharey: Any) -> tuple[Figure, np.ndarray]:
    """A figure of `count` axes, and the grid of them, at most `across` in a row."""
    columns = min(count, across)
    rows = ceil(count / columns)
    figure = Figure(figsize=(max(PANEL[0] * columns, 5.0), PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, grid


def layer_axis(axes: Axes, layers: pd.Series, strip: float | None = None) -> None:
    """Put ticks at whole layers; strip: where own heads stand, if there are any."""
    first, last = layers.min(), layers.max()
    ticks = [tick for tick in MaxNLocator(nbins=8, integer=True).tick_values(first, last) if first <= tick <= last]
    labels = [f"{tick:g}\n{'emb.' if tick == 0 else ''}" for tick in ticks]  # layer 0 is the embedding output
    if strip is not None:
        ticks, labels = [*ticks, strip], [*labels, "\nown head"]
        axes.axvline((last + strip) / 2, color="#cccccc", linewidth=0.6, zorder=0)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("layer", labelpad=-8)  # on the second line of the tick labels


def finish(figure: Figure, caption: str, last: Collection[str] = ()) -> None:
    """Put the caption above and one legend below, with the labels `last` at its end; the figure grows by both."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    width, height = figure.get_size_inches()
    if handles:
        entry = 0.06 * max(map(len, handles)) + 0.65  # inches
        columns = min(max(int(width / entry), 1), len(handles))
        width, height = max(width, entry), height + 0.17 * ceil(len(handles) / columns)
        labels = sorted(handles, key=lambda label: label in last)
        figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=columns)
    text = "\n".join(fill(line, int(13 * width)) for line in caption.splitlines())  # 9 points: 13 characters an inch
    figure.set_size_inches(width, height + 0.1 + 0.15 * len(text.splitlines()))
    figure.suptitle(text, x=0.01, ha="left", fontsize=9)

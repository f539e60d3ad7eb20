"""Charts as figures: small multiples of lines, and heat maps. Nothing here knows what a chart shows."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.report import style
from stages.qa.report.charts import Chart
from stages.qa.report.probing_charts import similarity_caption, similarity_rows
from stages.qa.report.results import Results

BAND = "band of the whole curve"
TITLE = 34  # characters of a panel's title on a line


def write_figures(charts: Mapping[str, Chart], results: Results, folder: Path, format: str) -> None:
    """FOLDER/<name of a chart>.<format>, and similarity.<format>."""
    figures = {name: lines_figure(chart) for name, chart in charts.items()}
    figures["similarity"] = maps_figure(similarity_rows(results), similarity_caption(results.similarity))
    for name, figure in figures.items():
        style.save(figure, folder / f"{name}.{format}")


@style.applied
def lines_figure(chart: Chart) -> Figure:
    """Small multiples: one legend for all panels below, the caption above."""
    points, looks = chart.points(), style.looks(chart.line_names())
    names = chart.panel_names()
    figure, grid = style.canvas(max(len(names), 1), chart.across or 4, sharey="col" if chart.across else "all")
    for axes, name in zip(grid.flat, names, strict=False):
        draw_panel(axes, chart, points[points["panel"] == name], looks)
        for panel, label, height in chart.levels:
            if panel == name and axes.lines:
                axes.axhline(height, color=style.GREY, linestyle="--", linewidth=0.9, label=label, zorder=1)
        axes.set_title(fill(str(name), TITLE))
    if not names:
        style.say(grid.flat[0], "nothing to show")
    for axes in grid[:, 0]:
        axes.set_ylabel(chart.y)
    style.finish(figure, chart.caption, last={BAND, *(label for _, label, _ in chart.levels)})
    return figure


def draw_panel(axes: Axes, chart: Chart, points: pd.DataFrame, looks: dict[Any, dict[str, Any]]) -> None:
    """A line for each of `looks`, with its band and thin single runs; own heads in a strip on the right."""
    singles, points = points[points["single"].notna()], points[points["single"].isna()]
    curves, heads = points[points["x"].notna()], points[points["x"].isna()]
    if curves.empty:
        style.say(axes, "nothing to show")
        return
    deepest = curves["x"].max()
    strip = deepest + max(1.0, 0.1 * deepest)
    for name, look in looks.items():
        curve, head = curves[curves["line"] == name], heads[heads["line"] == name]
        label = f"layer {name}" if isinstance(name, int) else str(name)
        if len(curve):
            axes.plot(curve["x"], curve["value"], label=label, **look)
        for _, run in singles[singles["line"] == name].groupby("single"):
            axes.plot(run["x"], run["value"], color=look["color"], linewidth=0.5, alpha=0.7)
        if curve["low"].notna().any():
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=look["color"], alpha=0.15, linewidth=0)
            axes.fill_between([], [], color=style.GREY, alpha=0.25, linewidth=0, label=BAND)  # in grey for the legend
        if len(head):
            hollow = {**look, "linestyle": "", "markersize": 5.5, "fillstyle": "none"}
            axes.plot([strip], head["value"], label="_own head" if len(curve) else label, **hollow)
            axes.vlines([strip], head["low"], head["high"], color=look["color"], alpha=0.5, linewidth=1)
    axes.grid(axis="y")
    if chart.x == "layer":
        style.layer_axis(axes, curves["x"], strip if len(heads) else None)
    else:
        axes.set_xlabel(chart.x)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))


@style.applied
def maps_figure(cells: pd.DataFrame, caption: str) -> Figure:
    """Heat maps of columns panel, layer, other_layer and value: layers to the right, other layers upwards."""
    panels = list(cells.groupby("panel", sort=False))
    norm = Normalize(0, max(cells["value"].max(), 1e-9))
    figure, grid = style.canvas(max(len(panels), 1), 4, sharey=False)
    for axes, (name, rows) in zip(grid.flat, panels, strict=False):
        values = rows.pivot(index="other_layer", columns="layer", values="value").to_numpy()
        axes.imshow(values, cmap="viridis", norm=norm, origin="lower")
        axes.set(title=fill(str(name), TITLE), xlabel="layer", ylabel="layer of the second")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=figure.axes, aspect=30, pad=0.02)
    style.finish(figure, caption)
    return figure

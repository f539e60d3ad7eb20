"""What all figures share: looks, canvas, caption, legend, the layer axis, and a curve with its bands.

No figure uses pyplot or its global state, and a user's matplotlibrc changes nothing. Names of models and protocols may
be long: titles are wrapped, and a figure grows by its caption and its legend.

Curves differ in colour, marker and dashes: they can be told apart in grey and by colour-blind readers. The colours are
those of Okabe and Ito (2008), then three of Paul Tol's "muted" scheme.
"""

from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.qa.files import replaced

COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933", "#882255", "#332288"
MARKERS = "os^DvPX<>*"
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)))
GREY = "#777777"
KINDS = {"f1": "all", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "HasAns, answer forced"}  # of question
FLOOR, SEEDS, WHOLE_CURVE = 'always "no answer"', "lowest to highest seed", "band of the whole curve"  # end a legend
RC: dict[str, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.titlelocation": "left"}
RC |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False}
RC |= {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "grid.linewidth": 0.5}
RC |= {"grid.color": "#e6e6e6", "legend.handlelength": 3.2, "lines.linewidth": 1.3, "lines.markersize": 3.8}
RC |= {"svg.hashsalt": "", "pdf.fonttype": 42}  # the same ids in every SVG; fonts in a PDF that journals take
applied = style.context(["default", RC])


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of the curve of each name, in order."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
        }
        for i, name in enumerate(names)
    }


@applied
def save(figure: Figure, path: Path) -> None:
    """Write a PNG (200 dots per inch), SVG or PDF, as the ending of `path` says: one figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    unwanted = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]
    with replaced(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=200, metadata={unwanted: None})


def grid_of(rows: int, columns: int, inches: tuple[float, float], sharey: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure and its rows x columns axes; inches: width and height of each."""
    figure = Figure(figsize=(max(inches[0] * columns, 5.0), inches[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=sharey, squeeze=False)


def small_multiples(
    count: int, y_label: str, inches: tuple[float, float] = (2.5, 2.1), *, sharey: Any = "all"
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `count` axes, four in a row at most, and the axes in order."""
    columns = min(count, 4)
    figure, grid = grid_of(ceil(count / columns), columns, inches, sharey)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(y_label)
    return figure, grid.flat[:count]


def say(axes: Axes, text: str) -> None:
    """Write `text` in place of curves."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def draw_curve(axes: Axes, points: pd.DataFrame, column: str, label: str, look: Mapping[str, Any]) -> None:
    """Draw `column` by layer, with its bands if `points`, a row a layer, has them.

    Columns lowest and highest: of the seeds. Columns band_low and band_high: the simultaneous band of the whole curve.
    """
    points = points.sort_values("layer")
    layers, bounds = points["layer"], points.reindex(columns=["lowest", "highest", "band_low", "band_high"])
    axes.plot(layers, points[column], label=label, **look)
    shade = {"color": look["color"], "linewidth": 0}
    if (bounds["lowest"] < bounds["highest"]).any():
        axes.fill_between(layers, bounds["lowest"], bounds["highest"], alpha=0.2, label=SEEDS, **shade)
    if bounds["band_low"].notna().any():
        axes.fill_between(layers, bounds["band_low"], bounds["band_high"], alpha=0.13, **shade)
        axes.fill_between([], [], color=GREY, alpha=0.25, linewidth=0, label=WHOLE_CURVE)  # in grey for the legend


def draw_readings(axes: Axes, points: pd.DataFrame, column: str, look: Mapping[str, Any], by: str = "model") -> None:
    """Draw a curve of the probes for each value of the column `by`, and own QA heads in a strip on the right.

    look: value -> look of its curve. points: what `draw_curve` takes, and the columns `by` and reading.
    """
    points = points.dropna(subset=[column])
    probes, heads = points[points["reading"] == "probe"], points[points["reading"] == "head"]
    if probes.empty:
        say(axes, "no such questions")
        return
    deepest = probes["layer"].max()
    strip = deepest + max(1.0, 0.1 * deepest)
    for name in look:
        curve, head = probes[probes[by] == name], heads[heads[by] == name]
        if len(curve):
            draw_curve(axes, curve, column, name, look[name])
        if len(head):
            label = name if curve.empty else f"_own head of {name}"  # in the legend once
            _draw_head(axes, strip, head, column, label, look[name])
    layer_axis(axes, probes["layer"], strip if len(heads) else None)


def _draw_head(axes: Axes, place: float, head: pd.DataFrame, column: str, label: str, look: Mapping[str, Any]) -> None:
    """Draw one own head at `place`, hollow, with its interval if it has one; head: a row."""
    hollow = {**look, "linestyle": "", "markersize": 5.5, "fillstyle": "none"}
    axes.plot([place], head[column], label=label, **hollow)
    if head.reindex(columns=["band_low"]).notna().all(axis=None):
        axes.vlines([place], head["band_low"], head["band_high"], color=look["color"], alpha=0.5, linewidth=1)


def draw_level(axes: Axes, height: float, label: str, dashes: str = "--") -> None:
    """Draw a grey horizontal line behind the curves; `label` is in the legend unless it begins with "_"."""
    axes.axhline(height, color=GREY, linestyle=dashes, linewidth=0.9, label=label, zorder=1)


def layer_axis(axes: Axes, layers: pd.Series, strip: float | None = None) -> None:
    """Put ticks at whole layers, as many as fit; strip: where own heads stand, if there are any."""
    first, last = int(layers.min()), int(layers.max())
    room = axes.bbox.width / 20  # ticks; the layout is made at matplotlib's 100 dots per inch
    step = next((step for step in (1, 2, 3, 4, 6, 8) if (last - first) / step < room), 12)
    ticks: list[float] = list(range(step * ceil(first / step), last + 1, step))
    labels = [layer_label(tick) for tick in ticks]
    if strip is not None:
        ticks, labels = [*ticks, strip], [*labels, "\nown head"]
        axes.axvline((last + strip) / 2, color="#cccccc", linewidth=0.6, zorder=0)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("layer", labelpad=-8)  # on the second line of the tick labels
    axes.grid(axis="y")


def layer_label(layer: float) -> str:
    """Label of a layer's tick, of two lines: layer 0 is the embedding output."""
    return f"{layer:g}\n{'emb.' if layer == 0 else ''}"


def bands_from(intervals: pd.DataFrame, confidence: float) -> str:
    """What the bands of a figure are and rest on, to end its caption; "" without intervals."""
    if intervals.empty:
        return ""
    return f"; {100 * confidence:g} % bands, from {intervals['clusters'].max():,.0f} {intervals['unit'].iloc[0]}s"


def entitle(figure: Figure, caption: str) -> None:
    """Put the caption above the axes, its lines wrapped to the figure's width; the figure grows by them."""
    width, height = figure.get_size_inches()
    lines = [fill(line, int(13 * width)) for line in caption.splitlines()]  # 9 points: 13 characters an inch
    text = "\n".join(lines)
    figure.set_size_inches(width, height + 0.1 + 0.15 * len(text.splitlines()))
    figure.suptitle(text, x=0.01, ha="left", fontsize=9)


def finish(figure: Figure, caption: str) -> None:
    """Put the caption above and one legend for all axes below, in as many columns as fit; the figure grows by both."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        entitle(figure, caption)
        return
    labels = sorted(handles, key=lambda label: label in (FLOOR, SEEDS, WHOLE_CURVE))
    width, height = figure.get_size_inches()
    entry = 0.06 * max(map(len, labels)) + 0.65  # inches
    columns = min(max(int(width / entry), 1), len(labels))
    figure.set_size_inches(max(width, entry), height + 0.17 * ceil(len(labels) / columns))
    entitle(figure, caption)
    figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=columns)

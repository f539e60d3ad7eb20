"""Style, size and saving of the figures: what surrounds their axes.

pyplot and its global state are not used, and a user's matplotlibrc changes nothing. Names come from a study and may be
long: titles are wrapped, and a figure grows by what stands above and below its axes.
"""

from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.qa.files import published

FLOOR, SEEDS, WHOLE_CURVE = 'always "no answer"', "lowest to highest seed", "band of the whole curve"  # end a legend
RC: dict[str, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.titlelocation": "left"}
RC |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "legend.frameon": False}
RC |= {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "grid.linewidth": 0.5}
RC |= {"grid.color": "#e6e6e6", "legend.handlelength": 3.2, "lines.linewidth": 1.3, "lines.markersize": 3.8}
RC |= {"svg.hashsalt": "", "pdf.fonttype": 42}  # the same ids in every SVG; fonts in a PDF that journals take
paper_style = style.context(["default", RC])


@paper_style
def save(figure: Figure, path: Path) -> None:
    """Write what the ending says (PNG: 200 dots per inch; SVG or PDF): the same bytes for the same figure."""
    kind = path.suffix.removeprefix(".")
    dates = {"Software": None} if kind == "png" else {"Date" if kind == "svg" else "CreationDate": None}
    with published(path) as partial:
        figure.savefig(partial, format=kind, dpi=200, metadata=dates)


def say(axes: Axes, text: str) -> None:
    """`text` in place of curves."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color="#777777", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def grid_of(rows: int, columns: int, inches: tuple[float, float], sharey: Any) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns axes; inches: width and height of each."""
    figure = Figure(figsize=(max(inches[0] * columns, 5.0), inches[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, sharey=sharey, squeeze=False)


def small_multiples(
    count: int, y_label: str, inches: tuple[float, float] = (2.5, 2.1), *, sharey: Any = "all"
) -> tuple[Figure, np.ndarray]:
    """A figure of `count` axes, four in a row at most, and the axes in order."""
    columns = min(count, 4)
    figure, grid = grid_of(ceil(count / columns), columns, inches, sharey)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(y_label)
    return figure, grid.flat[:count]


def entitle(figure: Figure, caption: str) -> None:
    """The caption above the axes, its lines wrapped to the figure's width; the figure grows by them."""
    width, height = figure.get_size_inches()
    lines = [fill(line, int(13 * width)) for line in caption.splitlines()]  # 9 points: 13 characters an inch
    text = "\n".join(lines)
    figure.set_size_inches(width, height + 0.1 + 0.15 * len(text.splitlines()))
    figure.suptitle(text, x=0.01, ha="left", fontsize=9)


def finish(figure: Figure, caption: str) -> None:
    """The caption above, one legend for all axes below, in as many columns as fit; the figure grows to hold both."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=lambda label: label in (FLOOR, SEEDS, WHOLE_CURVE))
    width, height = figure.get_size_inches()
    entry = 0.06 * max(map(len, labels)) + 0.65  # inches
    columns = min(max(int(width / entry), 1), len(labels))
    figure.set_size_inches(max(width, entry), height + 0.17 * ceil(len(labels) / columns))
    entitle(figure, caption)
    figure.legend([found[label] for label in labels], labels, loc="outside lower center", ncols=columns)

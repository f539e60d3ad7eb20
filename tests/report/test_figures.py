"""Figures draw what a chart says; nothing overlaps, is cut off or depends on the user's settings; the same bytes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from io import BytesIO
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from stages.qa.report.charts import Chart, curve_charts, evidence_charts
from stages.qa.report.figures import BAND, lines_figure, maps_figure
from stages.qa.report.probing_charts import probing_charts, similarity_rows
from stages.qa.report.results import Results
from tests.report.figure_example import example, legend_of, lines, of_layers
from tests.report.test_charts import NOTHING

ROOT = Path(__file__).parents[2]
NAMES = {"m0": "ahotrod--albert_xxlargev1_squad2_512", "m1": "distilbert-base-uncased-finetuned"}
NAMES |= {"m2": "bert-large-uncased-whole-word-masking-finetuned-squad"}
NAMES |= {"corrected": "paper-slice-windows-longer", "paper": "paper-slice-windows"}
ROWS = [{"panel": panel, "line": line, "layer": layer, "score": 10.0 * place + layer, "reading": "probe"}
        for panel in ("one", "two") for place, line in enumerate(("a", "b")) for layer in (0, 1, 2)]  # fmt: skip
HEAD = {"panel": "two", "line": "a", "layer": 2, "score": 33.0, "low": 30.0, "high": 35.0, "reading": "head"}


def charts_of(results: Results) -> dict[str, Chart]:
    evidence = evidence_charts(results, NOTHING, 0.95) | probing_charts(results, 0.95)
    return curve_charts(results, [], 0.95) | evidence


def chart(**changes: object) -> Chart:
    rows = pd.DataFrame([*ROWS, HEAD])
    return replace(Chart("title\ncounts", rows, "panel", "line", "score", y="F1 (%)"), **changes)


def test_a_panel_for_each_panel_and_a_line_for_each_line() -> None:
    figure = lines_figure(chart(levels=[("one", "floor", 5.0)]))
    one, two = figure.axes
    assert [axes.get_title(loc="left") for axes in (one, two)] == ["one", "two"]
    assert [list(line.get_ydata()) for line in lines(one, "")] == [[0, 1, 2], [10, 11, 12], [5, 5]]
    assert legend_of(figure) == ["a", "b", "floor"]
    assert figure.get_suptitle() == "title\ncounts"
    assert one.get_ylabel() == "F1 (%)"
    assert one.get_ylim() == two.get_ylim()  # with 33 of the other panel
    columns = lines_figure(chart(across=2))
    assert columns.axes[0].get_ylim() != columns.axes[1].get_ylim()


def test_an_own_head_stands_in_a_strip_with_the_look_of_its_curve() -> None:
    two = lines_figure(chart()).axes[1]
    (head,) = lines(two, "_own head")
    (curve,) = lines(two, "a")
    assert head.get_ydata() == [33]
    assert head.get_xdata() > 2
    assert (head.get_color(), head.get_marker()) == (curve.get_color(), curve.get_marker())
    bars = [c.get_paths()[0].vertices[:, 1].tolist() for c in two.collections if len(c.get_paths()[0].vertices) == 2]
    assert bars == [[30, 35]]
    assert [label.get_text().strip() for label in two.get_xticklabels()] == ["0\nemb.", "1", "2", "own head"]


def test_a_band_stands_round_its_curve() -> None:
    rows = pd.DataFrame(ROWS).assign(low=lambda frame: frame["score"] - 2, high=lambda frame: frame["score"] + 3)
    figure = lines_figure(chart(rows=rows))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (-2, 5)
    assert legend_of(figure) == ["a", "b", BAND]
    assert BAND not in legend_of(lines_figure(chart()))


def test_a_panel_or_chart_without_points_says_so() -> None:
    figure = lines_figure(chart(panels=["one", "none", "two"], levels=[("none", "floor", 5.0)]))
    assert [text.get_text() for text in figure.axes[1].texts] == ["nothing to show"]
    assert not figure.axes[1].lines
    assert [text.get_text() for text in lines_figure(chart(rows=pd.DataFrame(ROWS).iloc[:0])).axes[0].texts]


def test_layers_as_lines_have_colours_in_sequence() -> None:
    figure = lines_figure(charts_of(example([2, 4]))["loss_curves"])
    assert [len(axes.lines) for axes in figure.axes] == [3, 5]
    colours = [line.get_color() for line in figure.axes[1].lines]
    assert [line.get_color() for line in figure.axes[0].lines] == colours[:3]
    assert len(set(colours)) == 5
    assert legend_of(figure) == [f"layer {layer}" for layer in range(5)]


def test_nine_lines_differ_in_colour_and_marker() -> None:
    drawn = lines(lines_figure(charts_of(example([3] * 9))["f1_by_layer"]).axes[0])
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == 9
    for a, b in combinations(drawn, 2):
        assert np.abs(np.subtract(to_rgb(a.get_color()), to_rgb(b.get_color()))).sum() > 0.25


def test_maps_hold_every_value() -> None:
    figure = maps_figure(similarity_rows(example([2, 3])), "title\n99 tokens")
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3]]
    assert [image.shape for image in images] == [(3, 3), (4, 3), (4, 4)]  # m0; m0 with m1; m1
    assert images[1][3].tolist() == [30, 31, 32]
    assert len(figure.axes) == 3 + 1  # and the colour bar


def ticks_of(axes: Axes) -> list[Text]:
    return [label for label in axes.get_xticklabels() if label.get_text().strip()]


@pytest.mark.parametrize("sizes", [[12], [24] * 2, [6, 12, 24] * 3], ids=["one", "deep", "nine"])
@pytest.mark.parametrize("name", ["f1_by_layer", "panels"])
def test_nothing_overlaps(name: str, sizes: list[int]) -> None:
    layers = example(sizes, epochs=3, heads=1).layers
    longest = "sentence-transformers--" * 4
    if len(sizes) > 1:
        longest = "sentence-transformers--distilbert-base-uncased-squad2-"
    results = of_layers(layers.assign(model=longest + layers["model"]))
    figure = lines_figure(curve_charts(results, [], 0.95)[name])
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        ticks = ticks_of(axes)
        boxes = [label.get_window_extent() for label in ticks]
        # "own head" stands on the second line, beside and not upon the number before it
        numbers = [label.get_window_extent() for label in ticks if label.get_text().strip() != "own head"]
        assert all(left.x1 < right.x0 for left, right in pairwise(numbers))
        assert not any(box.overlaps(axes.xaxis.label.get_window_extent()) for box in (boxes[0], boxes[-1]))
        assert axes.xaxis.label.get_window_extent().y1 < boxes[0].y0 + 0.6 * boxes[0].height  # below the numbers
    title_boxes = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert not any(a.overlaps(b) for a, b in combinations(title_boxes, 2))
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes)


def with_long_names(results: Results) -> Results:
    frames = {field.name: getattr(results, field.name) for field in fields(results)}
    renamed = {name: frame.replace(NAMES) for name, frame in frames.items() if isinstance(frame, pd.DataFrame)}
    return replace(results, **renamed, models=[NAMES[model] for model in results.models])


def drawn_texts(figure: Figure) -> Iterator[Text]:
    """All but empty ones, and the labels of ticks beyond the ends of an axis, which are not drawn."""
    beyond = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                beyond |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip() and text not in beyond:
            yield text


def assert_fits(figure: Figure, name: str) -> None:
    """By the extents that matplotlib gives, and by the picture: its outermost pixels are white."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    assert sum(1 for _ in drawn_texts(figure)) > 1, name
    for text in drawn_texts(figure):
        box, canvas = text.get_window_extent(), figure.bbox
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= canvas.width and box.y1 <= canvas.height
        assert inside, f"{name}: {text.get_text()!r} leaves the canvas"
    picture.seek(0)
    pixels = imread(picture)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all(), f"{name}: something is cut off"


def test_all_texts_lie_inside() -> None:
    results = with_long_names(example([6, 6], protocols=("corrected", "paper"), epochs=2, heads=1, bands=True))
    for name, described in charts_of(results).items():
        if not described.panel_names():  # no rows here
            continue
        figure = lines_figure(described)
        assert_fits(figure, name)
        assert ("95 % bands" in figure.get_suptitle()) == (BAND in legend_of(figure)), name
    assert_fits(maps_figure(similarity_rows(results), "title"), "similarity")


def test_a_caption_is_wrapped_and_the_figure_grows_by_it() -> None:
    heights = []
    for words in (3, 40):
        figure = lines_figure(chart(caption="Title\n" + "caption " * words))
        assert_fits(figure, f"{words} words")
        heights.append(figure.get_size_inches()[1])
    assert np.diff(heights) > 0.5


def test_global_style_is_left_alone() -> None:
    before = dict(rcParams)
    lines_figure(chart())
    assert dict(rcParams) == before


PROGRAM = """
import sys
from pathlib import Path
from stages.qa.report.figures import lines_figure
from stages.qa.report.figures import save
from tests.report.test_figures import charts_of
from tests.report.figure_example import example
folder = Path(sys.argv[1])
charts = charts_of(example([2, 3], epochs=2, seeds=2, heads=1, bands=True))
for name in ("f1_by_layer", "loss_curves", "quality"):
    save(lines_figure(charts[name]), folder / f"{name}.png")
for kind in ("svg", "pdf"):
    save(lines_figure(charts["f1_by_layer"]), folder / f"f1_by_layer.{kind}")
assert "matplotlib.pyplot" not in sys.modules
"""


def test_the_same_bytes_in_fresh_processes_whatever_the_user_has_set(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsavefig.facecolor: red\nfont.size: 30\n")
    notebook = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # a kernel sets it for what it starts
    processes = []
    for run, setting in enumerate((notebook, {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / f"plots{run}")]
        environment = {**os.environ, "PYTHONHASHSEED": str(run), **setting}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE))
    written = []
    for run, process in enumerate(processes):
        _, err = process.communicate()
        assert process.returncode == 0, err
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"plots{run}").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 5  # and no leftovers
    assert not any(b"Software" in data for name, data in written[0].items() if name.endswith(".png"))

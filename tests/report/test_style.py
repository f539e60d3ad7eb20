"""Every figure of a study holds all its texts, however long the names; a saved figure has the same bytes anywhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from stages.qa.report.curve_figures import panels, study_figures
from stages.qa.report.results import Results
from stages.qa.report.style import WHOLE_CURVE, entitle, say, small_multiples
from tests.report.figure_example import example

ROOT = Path(__file__).parents[2]
NAMES = {"m0": "ahotrod--albert_xxlargev1_squad2_512", "m1": "distilbert-base-uncased-finetuned"}
NAMES |= {"m2": "bert-large-uncased-whole-word-masking-finetuned-squad"}
NAMES |= {"corrected": "paper-slice-windows-longer", "paper": "paper-slice-windows"}
FIGURES = ["f1_by_layer", "exact_by_layer", "panels", "epochs", "loss_curves", "protocols"]
FIGURES += ["differences", "quality", "reliability", "breakdown", "controls", "similarity"]


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


@pytest.mark.parametrize("long", [False, True], ids=["short names", "long names"])
def test_all_texts_lie_inside(long: bool) -> None:
    results = example([6, 6, 6], protocols=("corrected", "paper"), epochs=3, heads=1, bands=True)
    names = []
    for name, figure in study_figures(with_long_names(results) if long else results, [], 0.95):
        names.append(name)
        assert_fits(figure, name)
        legend = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        assert ("95 % bands" in figure.get_suptitle()) == (WHOLE_CURVE in legend), name
    assert names == FIGURES


def test_a_caption_is_wrapped_and_the_figure_grows_by_it() -> None:
    heights = []
    for words in (3, 40):
        figure, grid = small_multiples(1, "y")
        say(grid[0], "nothing")
        entitle(figure, "Title\n" + "caption " * words)
        assert_fits(figure, f"{words} words")
        heights.append(figure.get_size_inches()[1])
    assert np.diff(heights) > 0.5


def test_global_style_is_left_alone() -> None:
    before = dict(rcParams)
    panels(example([2]), 0.95)
    assert dict(rcParams) == before


PROGRAM = """
import sys
from pathlib import Path
from stages.qa.report.curve_figures import study_figures
from stages.qa.report.style import save
from tests.report.figure_example import example
folder = Path(sys.argv[1])
for name, figure in study_figures(example([2, 3], epochs=2, seeds=2, heads=1, bands=True), [], 0.95):
    save(figure, folder / f"{name}.png")
    if name == "f1_by_layer":
        save(figure, folder / f"{name}.svg")
        save(figure, folder / f"{name}.pdf")
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
    assert len(written[0]) == len(FIGURES) + 2  # one figure in two more formats, and no leftovers
    assert not any(b"Software" in data for name, data in written[0].items() if name.endswith(".png"))

"""Every figure of a study holds all its texts, however long the names; only one that draws bands speaks of them."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from stages.qa.report.figures import study_figures

from stages.qa.config import load_params
from stages.qa.report.results import Results, read_results
from stages.qa.report.style import WHOLE_CURVE, entitle, say, small_multiples

ROOT = Path(__file__).parents[2]
NAMES = {"minilm-finetuned": "ahotrod--albert_xxlargev1_squad2_512", "minilm": "distilbert-base-uncased-finetuned"}
NAMES |= {"minilm-random": "bert-large-uncased-whole-word-masking-finetuned-squad"}
NAMES |= {"corrected": "paper-slice-windows-longer", "paper": "paper-slice-windows"}


def renamed(value: Any) -> Any:
    """Frames, and records of frames, with NAMES for the demo's models and protocols."""
    if isinstance(value, pd.DataFrame):
        return value.replace(NAMES)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: renamed(getattr(value, field.name)) for field in fields(value)})
    return value


@pytest.fixture(scope="module")
def results() -> Results:
    params = load_params(ROOT / "params.yaml")
    return read_results(
        ROOT / "metrics/demo", probed=params.probed, heads=[], compared=params.compared, confidence=0.95
    )


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
def test_all_texts_lie_inside(results: Results, long: bool) -> None:
    given = renamed(results) if long else results
    names = []
    for name, figure in study_figures(given, [], 0.95):
        names.append(name)
        assert_fits(figure, name)
        legend = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        assert ("95 % bands" in figure.get_suptitle()) == (WHOLE_CURVE in legend), name
    assert len(names) == len(list((ROOT / "plots/demo").glob("*.png")))


def test_a_caption_is_wrapped_and_the_figure_grows_by_it() -> None:
    heights = []
    for words in (3, 40):
        figure, grid = small_multiples(1, "y")
        say(grid[0], "nothing")
        entitle(figure, "Title\n" + "caption " * words)
        assert_fits(figure, f"{words} words")
        heights.append(figure.get_size_inches()[1])
    assert np.diff(heights) > 0.5

"""The figures of differences, quality, reliability and breakdown hold the numbers of the headline protocol."""

from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.qa.report.evidence_figures import evidence_figures
from stages.qa.report.results import Results
from tests.report.figure_example import example, legend_of, lines


@pytest.fixture(scope="module")
def results() -> Results:
    """Of m0, fine-tuned from m1, with three layers each."""
    return example([2, 2], protocols=("corrected", "paper"), heads=1)


@pytest.fixture(scope="module")
def figures(results: Results) -> dict[str, Figure]:
    return dict(evidence_figures(results, 0.95))


def test_every_caption_says_what_the_figure_is_of(figures: dict[str, Figure]) -> None:
    assert list(figures) == ["differences", "quality", "reliability", "breakdown"]
    for figure in figures.values():
        assert "700 questions of 15 articles; corrected protocol" in figure.get_suptitle()
    assert "95 % bands, from 12 articles" in figures["differences"].get_suptitle()


def test_differences_have_a_row_per_comparison(figures: dict[str, Figure]) -> None:
    axes = figures["differences"].axes
    assert len(axes) == 2 * 4
    assert [len(lines(panel)) for panel in axes] == [2] * 4 + [1] * 4
    assert list(lines(axes[0])[1].get_xdata()) == [1, 2]  # each layer less the one below it
    assert list(lines(axes[5])[0].get_xydata()[:, 1]) == [1, 2, 3]
    band = axes[5].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1 - 2, 3 + 2)


def test_without_comparisons_there_is_nothing_to_compare(results: Results) -> None:
    none = pd.DataFrame(columns=results.steps.columns)
    figure = dict(evidence_figures(replace(results, differences=none), 0.95))["differences"]
    assert len(figure.axes) == 4
    empty = next(evidence_figures(replace(results, steps=none, differences=none), 0.95))[1]
    assert [text.get_text() for axes in empty.axes for text in axes.texts] == ["none"] * 4


def test_quality(figures: dict[str, Figure]) -> None:
    nll, ranking, calibration, f1 = figures["quality"].axes
    assert list(lines(nll)[0].get_ydata()) == [0.5, 1.5, 2.5]
    assert lines(ranking)[1].get_ydata() == pytest.approx([52.4, 52.8, 53.2])
    assert lines(calibration, "_own head")[0].get_ydata() == [42]
    assert lines(f1, "always")[0].get_ydata()[0] == 60
    assert lines(ranking, "by chance")[0].get_ydata()[0] == 40


def test_reliability_shows_three_layers_and_the_head(figures: dict[str, Figure]) -> None:
    names = ["first layer", "middle layer", "last layer", "own head", "calibrated"]
    assert legend_of(figures["reliability"]) == names
    first, second = figures["reliability"].axes
    assert (len(first.collections), len(second.collections)) == (4, 3)
    assert first.collections[0].get_offsets().tolist() == [[0.1, 0.2], [0.9, 0.8]]  # 9 questions are too few


def test_breakdown_leaves_out_small_groups(figures: dict[str, Figure]) -> None:
    axes = figures["breakdown"].axes
    assert [panel.get_title(loc="left") for panel in axes] == ["question word", "windows", "", ""]
    assert [[line.get_label() for line in panel.lines] for panel in axes] == [["what (60)"], ["one window (60)"]] * 2
    assert list(axes[0].lines[0].get_ydata()) == [6, 7, 8]

"""What the figures of scores and losses show, counted and measured on the figures themselves."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.qa.report import curve_figures
from stages.qa.report.results import Results
from tests.report.figure_example import NAN, example, legend_of, lines, of_layers


def f1(results: Results) -> Figure:
    return curve_figures.score_by_layer(results, "f1", "F1", 0.95)


def exact(results: Results) -> Figure:
    return curve_figures.score_by_layer(results, "exact", "Exact match", 0.95)


def panels(results: Results) -> Figure:
    return curve_figures.panels(results, 0.95)


CURVES = [f1, exact, panels, curve_figures.epochs]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_curves_show_the_last_epoch_and_the_mean_over_seeds() -> None:
    axes = f1(example([2, 1], epochs=3, seeds=3, heads=1)).axes[0]
    first, second = lines(axes)
    assert list(first.get_xdata()) == [0, 1, 2]
    assert first.get_ydata() == pytest.approx([48 + 0.4 * (layer + 3 + 0.1) for layer in (0, 1, 2)])
    assert list(second.get_xdata()) == [0, 1]
    spread = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert np.ptp(spread) == pytest.approx(0.4 * 2 + 0.4 * 0.2)  # from the lowest seed at layer 0 to the highest at 2
    assert len(axes.collections) == 2


def test_bands_stand_round_the_curves_and_the_head() -> None:
    figure = f1(example([2, 2], heads=1, bands=True))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((48.4 - 2, 49.2 + 2))
    (bar,) = [c for c in figure.axes[0].collections if c.get_paths()[:1] and len(c.get_paths()[0].vertices) == 2]
    assert bar.get_paths()[0].vertices[:, 1].tolist() == [82, 86]
    assert "band of the whole curve" in legend_of(figure)
    assert "95 % bands, from 12 articles" in figure.get_suptitle()
    without = f1(example([2, 2]))
    assert "band" not in " ".join([*legend_of(without), without.get_suptitle()])


def test_nothing_relies_on_the_order_of_rows() -> None:
    results = example([2, 3], protocols=("paper", "corrected"), epochs=2, seeds=2, heads=1, bands=True)
    frames = {name: getattr(results, name).sample(frac=1, random_state=0) for name in ("layers", "curves", "intervals")}
    shuffled = replace(results, **frames, losses=results.losses.iloc[::-1])

    def drawn(figure: Figure) -> list:
        curves = [line for axes in figure.axes for line in axes.lines]
        return [(line.get_label(), np.round(line.get_xydata(), 9).tolist()) for line in curves]

    for draw in (f1, exact, panels, lambda some: curve_figures.protocols(some, ["corrected", "paper"], 0.95)):
        assert drawn(draw(shuffled)) == drawn(draw(results))
    assert sorted(drawn(curve_figures.epochs(shuffled))) == sorted(drawn(curve_figures.epochs(results)))


def test_floor_and_own_head() -> None:
    axes = exact(example([2, 4], heads=2)).axes[0]
    (floor,) = lines(axes, "always")
    assert set(floor.get_ydata()) == {60.0}
    curves, heads = lines(axes), lines(axes, "_own head")
    for i, (curve, head) in enumerate(zip(curves, heads, strict=True)):
        assert list(head.get_ydata()) == [(84 + i) / 2]
        assert min(head.get_xdata()) > 4
        assert head.get_color() == curve.get_color()
        assert head.get_marker() == curve.get_marker()
    assert [label.get_text() for label in axes.get_xticklabels()][-1].strip() == "own head"
    without = exact(example([2])).axes[0]
    assert [label.get_text().split() for label in without.get_xticklabels()] == [["0", "emb."], ["1"], ["2"]]


def test_panels_are_the_four_kinds_of_question_with_their_own_floors() -> None:
    figure = panels(example([2, 2], heads=1))
    assert titles(figure) == ["all", "HasAns", "NoAns", "HasAns, answer forced"]
    assert [[line.get_ydata()[0] for line in lines(axes, "always")] for axes in figure.axes] == [[60], [0], [100], []]
    assert [lines(axes)[1].get_ydata()[0] for axes in figure.axes] == pytest.approx([52.4, 11, 80, 16])
    assert legend_of(figure) == ["m0", "m1", 'always "no answer"']


def test_the_ladder_has_a_row_per_model_and_a_curve_per_protocol() -> None:
    results = example([2, 3], protocols=("a", "b", "c"))
    layers = results.layers.assign(HasAns_f1=results.layers["HasAns_f1"].where(results.layers["protocol"] != "c", 7.0))
    figure = curve_figures.protocols(of_layers(layers), ["c", "b"], 0.95)
    assert titles(figure)[::4] == ["m0\nall", "m1\nall"]
    curves = {line.get_label(): list(line.get_ydata()) for line in figure.axes[1].lines if line.get_label() in "abc"}
    assert curves == {"c": [7, 7, 7], "b": [1, 2, 3]}
    assert legend_of(figure)[:2] == ["c", "b"]
    assert "by protocol" in figure.get_suptitle()
    single = curve_figures.protocols(example([2]), ["paper"], 0.95)
    assert titles(single)[3] == "m0\nHasAns, answer forced"


@pytest.mark.parametrize(("draw", "count"), zip(CURVES, (2, 2, 8, 4), strict=True))
def test_a_panel_for_each_protocol(draw: Callable[[Results], Figure], count: int) -> None:
    figure = draw(example([2, 3], protocols=("paper", "corrected")))
    assert len(figure.axes) == count
    assert sum("paper" in title for title in titles(figure)) == count // 2
    assert sum("corrected" in title for title in titles(figure)) == count // 2
    assert "protocol)" not in figure.get_suptitle()
    assert "(paper protocol)" in draw(example([2])).get_suptitle()


def test_an_empty_group_is_said_to_be_empty() -> None:
    layers = example([2, 2], heads=1).layers.assign(total=4, NoAns_total=NAN, NoAns_f1=NAN, NoAns_exact=NAN)
    figure = panels(of_layers(layers))
    assert [text.get_text() for text in figure.axes[2].texts] == ["no such questions"]
    assert not figure.axes[2].lines
    assert "4 questions: 4 HasAns, 0 NoAns" in figure.get_suptitle()


def test_nine_models_differ_in_colour_and_marker() -> None:
    drawn = lines(f1(example([3] * 9)).axes[0])
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == 9
    for a, b in combinations(drawn, 2):
        assert np.abs(np.subtract(to_rgb(a.get_color()), to_rgb(b.get_color()))).sum() > 0.25
    assert len(lines(f1(example([1] * 23)).axes[0])) == 23


def ticks_of(axes: Axes) -> list[Text]:
    return [label for label in axes.get_xticklabels() if label.get_text().strip()]


@pytest.mark.parametrize("sizes", [[12], [24] * 2, [6, 12, 24] * 3], ids=["one", "deep", "nine"])
@pytest.mark.parametrize("draw", CURVES)
def test_nothing_overlaps_or_is_cut_off(draw: Callable[[Results], Figure], sizes: list[int]) -> None:
    layers = example(sizes, epochs=3, heads=1).layers
    longest = "sentence-transformers--" * 4
    if len(sizes) > 1:
        longest = "sentence-transformers--distilbert-base-uncased-squad2-"
    figure = draw(of_layers(layers.assign(model=longest + layers["model"])))
    FigureCanvasAgg(figure).draw()
    inside = figure.bbox.padded(1)
    texts: list[Text] = [text for legend in figure.legends for text in legend.get_texts()]
    assert figure._suptitle is not None
    for axes in figure.axes:
        ticks = ticks_of(axes)
        boxes = [label.get_window_extent() for label in ticks]
        # "own head" stands on the second line, beside and not upon the number before it
        numbers = [label.get_window_extent() for label in ticks if label.get_text().strip() != "own head"]
        assert all(left.x1 < right.x0 for left, right in pairwise(numbers))
        assert not any(box.overlaps(axes.xaxis.label.get_window_extent()) for box in (boxes[0], boxes[-1]))
        assert axes.xaxis.label.get_window_extent().y1 < boxes[0].y0 + 0.6 * boxes[0].height  # below the numbers
        texts += [*ticks, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    title_boxes = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert not any(a.overlaps(b) for a, b in combinations(title_boxes, 2))
    for text in [*texts, figure._suptitle]:
        box = text.get_window_extent()
        assert inside.contains(box.x0, box.y0), text
        assert inside.contains(box.x1, box.y1), text
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes)


def test_epochs_are_a_line_each_until_there_are_many() -> None:
    figure = curve_figures.epochs(example([2, 2, 4, 2, 2], epochs=3))
    assert len(figure.axes) == 5
    assert [len(lines(axes, "epoch")) for axes in figure.axes] == [3] * 5
    assert list(lines(figure.axes[1], "epoch 3")[0].get_ydata()) == pytest.approx([53.2, 53.6, 54.0])
    many = legend_of(curve_figures.epochs(example([2], epochs=30)))
    assert many[0] == "epoch 1"
    assert many[-2:] == ["epoch 30", 'always "no answer"']
    assert len(many) <= 8


def test_a_convex_fit_has_one_curve_without_an_epoch() -> None:
    layers = example([2, 3]).layers
    fits = layers[layers["final"]].assign(epoch=NAN, learning_rate=NAN, seed=NAN, protocol="corrected")
    results = of_layers(fits)
    assert legend_of(curve_figures.epochs(results)) == ["optimum", 'always "no answer"']
    assert len(lines(f1(results).axes[0])) == 2


def test_loss_curves() -> None:
    losses = example([2, 4]).losses
    figure = curve_figures.loss_curves(losses)
    assert [len(axes.lines) for axes in figure.axes] == [3, 5, 0]  # the last is the colour bar
    assert list(figure.axes[1].lines[4].get_ydata()) == [4.9, 4.8]
    colours = [line.get_color() for line in figure.axes[1].lines]
    assert [line.get_color() for line in figure.axes[0].lines] == colours[:3]
    assert len(set(colours)) == 5
    (text,) = curve_figures.loss_curves(losses.iloc[:0]).axes[0].texts
    assert text.get_text() == "no probe was trained by gradient steps"

"""The figures of controls and similarity hold every model and value."""

import numpy as np

from stages.qa.report.probing_figures import probing_figures
from tests.report.figure_example import example


def test_figures_hold_every_model_and_value() -> None:
    figures = dict(probing_figures(example([2, 3])))
    assert list(figures) == ["controls", "similarity"]
    left, right = figures["controls"].axes
    assert [[line.get_label() for line in axes.lines] for axes in (left, right)] == [["task", "no_question"]] * 2
    assert list(left.lines[0].get_ydata()) == [40, 41, 42]
    assert "12 sampled HasAns questions\nall trained on the same 33" in figures["controls"].get_suptitle()
    similarity = figures["similarity"]
    images = [np.asarray(axes.images[0].get_array()) for axes in similarity.axes[:3]]
    assert [image.shape for image in images] == [(3, 3), (4, 3), (4, 4)]  # m0; m0 with m1; m1
    assert images[1][3].tolist() == [30, 31, 32]  # a row is a layer of the other model
    assert len(similarity.axes) == 3 + 1  # and the colour bar
    assert similarity.axes[1].get_ylabel() == "layers of m1"
    assert "99 tokens" in figures["similarity"].get_suptitle()

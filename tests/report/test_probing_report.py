"""The page and the figures say what the frames hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.report.test_plotting import scores

from stages.qa.checks.frames import (
    control_frame,
    mixing_frame,
    mlp_frame,
    similarity_frame,
    transfer_frame,
    write_frame,
)
from stages.qa.checks.judging import Judged
from stages.qa.errors import InputError
from stages.qa.report.probing_figures import probing_figures
from stages.qa.report.probing_page import probing_page, spread
from stages.qa.report.probing_results import read_probing

LAYERS = 3


def judged(first: float, count: int = LAYERS) -> Judged:
    return Judged(12, 20, first + np.arange(count), 5 - 0.1 * np.arange(count))


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    names = ("task", "random_spans", "shuffled_question", "no_question")
    controls = {name: judged(40 - 10 * i) for i, name in enumerate(names)} | {"position_only": judged(5, 1)}
    own = transfer_frame(judged(20, LAYERS**2), LAYERS, other="m1")
    codes = [(labels, layer, 200, 1500.0, 1500.0 / (layer + 1), layer + 1.0)
             for labels in ("gold", "random_spans") for layer in range(LAYERS)]  # fmt: skip
    frames = {
        "controls": control_frame(controls, 33),
        "code_length": pd.DataFrame(
            codes, columns=["labels", "layer", "positions", "uniform_bits", "bits", "compression"]
        ),
        "mixing": mixing_frame(judged(30), np.array([0.5, 0.25, 0.25])),
        "mlp": mlp_frame(judged(60), own),
        "transfer": own,
        "similarity": similarity_frame(np.eye(LAYERS), other="m1", tokens=99),
    }
    for name, frame in frames.items():
        write_frame(tmp_path / name / "m1.csv", "m1", frame)
        write_frame(tmp_path / name / "m0.csv", "m0", frame.replace("m1", "m0"))
    for name in ("transfer", "similarity"):
        write_frame(tmp_path / name / "m0.from.m1.csv", "m0", frames[name])
    return tmp_path


def test_the_page_gives_the_numbers(metrics: Path) -> None:
    results = read_probing(metrics, ["m0", "m1"], {"m0": "m1"})
    page = probing_page(results, scores([2, 2], seeds=1))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    # forced F1, then selectivity against shuffled, no question, random spans, position alone
    assert ["m1", "2", "42.00", "20.00", "30.00", "10.00", "37.00"] in lines
    assert ["m0", "1", "2.00", "2.00", "3.75"] in lines  # compressions, bits a position
    assert ["m0", "0.75", "1.50", "32.00"] in lines  # centre of gravity, expected layer of equal gains, full mix
    assert ["m1", "1", "61.00", "24.00", "4.90", "4.60"] in lines  # the linear probe is the diagonal's
    assert ["m0", "m1", "2", "1.00", "28.00"] in lines
    assert "12 sampled dev questions" in page
    assert "trained on 33 questions" in page
    assert "no spread was measured" in page


def test_the_spread_is_from_the_lowest_to_the_highest_seed() -> None:
    page = spread(scores([1], seeds=3))  # HasAns F1 of seed s is higher by s / 10, F1 by 0.04 s
    assert "| 48.40 to 48.48 |" in page
    assert "| 6.00 to 6.20 |" in page


def test_figures_hold_every_model_and_value(metrics: Path) -> None:
    found = dict(probing_figures(read_probing(metrics, ["m0", "m1"], {"m0": "m1"})))
    assert list(found) == ["controls", "code_length", "mixing", "transfer", "similarity"]
    left, right = found["controls"].axes
    assert [len(axes.lines) for axes in (left, right)] == [5, 5]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [40, 41, 42])
    assert len(found["transfer"].axes) == 3 + 1  # two models by themselves, one pair, the colour bar
    image = np.asarray(found["transfer"].axes[0].images[0].get_array())
    np.testing.assert_array_equal(image[0], [20, 21, 22])  # a row is a probe
    assert "99 tokens" in found["similarity"].get_suptitle()


def test_what_was_not_trained_is_left_out(metrics: Path) -> None:
    for name in ("mixing", "mlp", "code_length"):
        for file in (metrics / name).iterdir():
            file.write_text(file.read_text().splitlines()[0] + "\n")
    results = read_probing(metrics, ["m0", "m1"], {})
    for name, figure in probing_figures(results):
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert (texts == ["not measured in this study"]) == (name in ("code_length", "mixing")), name
    page = probing_page(results, scores([2], seeds=1))
    assert "## Controls" in page
    assert not any(title in page for title in ("## Mixes", "## One hidden", "## Description", "## What fine-tuning"))


def test_a_missing_file_or_column_is_named(metrics: Path) -> None:
    with pytest.raises(InputError, match=r"m2.csv: no such file; have the stages examine and compare run"):
        read_probing(metrics, ["m2"], {})
    (metrics / "mixing/m0.csv").write_text("model,layer\nm0,0\n")
    with pytest.raises(InputError, match=r"mixing/m0.csv: no column 'weight'"):
        read_probing(metrics, ["m0"], {})

"""What the figures show, counted and measured on the figures themselves; the same bytes from fresh processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
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
from matplotlib.text import Text

from stages.qa.report import curve_figures as plotting
from stages.qa.report import tables

ROOT = Path(__file__).parents[2]
CURVES = [plotting.f1_by_layer, plotting.exact_by_layer, plotting.panels, plotting.epochs]
NAN = float("nan")


def scores(
    sizes: Sequence[int], *, protocols: Sequence[str] = ("paper",), epochs: int = 1, seeds: int = 1, heads: int = 0
) -> pd.DataFrame:
    """Model m<i> has layers 0..sizes[i]; at layer l its HasAns F1 is 10 i + l + epoch + seed/10, its NoAns F1 80."""
    rows = []
    for i, size in enumerate(sizes):
        for protocol in protocols:
            same = {
                "model": f"m{i}",
                "protocol": protocol,
                "total": 10,
                "HasAns_total": 4,
                "NoAns_total": 6,
                "NoAns_f1": 80,
            }
            for epoch in range(1, epochs + 1):
                for seed in range(seeds):
                    for layer in range(size + 1):
                        has = 10 * i + layer + epoch + seed / 10
                        where = {"reading": "probe", "epoch": epoch, "layer": layer, "learning_rate": 0.1, "seed": seed}
                        rows.append({**same, **where, "HasAns_f1": has, "forced_f1": has + 5, "f1": 48 + 0.4 * has})
            if i < heads:
                head = {"reading": "head", "layer": size, "HasAns_f1": 90, "forced_f1": 95, "f1": 84 + i}
                rows.append({**same, **head})
    frame = pd.DataFrame(rows, columns=tables.KEYS + tables.SCORES)
    for prefix in ("", "HasAns_", "NoAns_", "forced_"):
        frame[f"{prefix}exact"] = frame[f"{prefix}f1"] / 2
    return frame


def losses(sizes: Sequence[int]) -> pd.DataFrame:
    rows = [
        (f"m{i}", layer, 0.1, 1, epoch, 5 - layer * epoch / 20)
        for i, size in enumerate(sizes)
        for layer in range(size + 1)
        for epoch in (0.5, 1.0)
    ]
    return pd.DataFrame(rows, columns=tables.LOSS)


def lines(axes: Axes, prefix: str = "m") -> list:
    return [line for line in axes.lines if str(line.get_label()).startswith(prefix)]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_show_the_last_epoch_and_the_mean_over_seeds() -> None:
    axes = plotting.f1_by_layer(scores([2, 1], epochs=3, seeds=3, heads=1)).axes[0]
    first, second = lines(axes)
    assert list(first.get_xdata()) == [0, 1, 2]
    assert first.get_ydata() == pytest.approx([48 + 0.4 * (layer + 3 + 0.1) for layer in (0, 1, 2)])
    assert list(second.get_xdata()) == [0, 1]
    bands = axes.collections
    assert len(bands) == 2
    low, high = np.ptp(bands[0].get_paths()[0].vertices[:, 1]), 0.4 * 2
    assert low == pytest.approx(high + 0.4 * 0.2)  # from the lowest seed at layer 0 to the highest at layer 2


def test_floor_and_own_head() -> None:
    axes = plotting.exact_by_layer(scores([2, 4], heads=2)).axes[0]
    (floor,) = lines(axes, "always")
    assert set(floor.get_ydata()) == {60.0}
    curves, heads = lines(axes), lines(axes, "_own head")
    for i, (curve, head) in enumerate(zip(curves, heads, strict=True)):
        assert list(head.get_ydata()) == [(84 + i) / 2]
        assert min(head.get_xdata()) > 4
        assert head.get_color() == curve.get_color()
        assert head.get_marker() == curve.get_marker()
    assert [label.get_text() for label in axes.get_xticklabels()][-1].strip() == "own head"
    without = plotting.exact_by_layer(scores([2])).axes[0]
    assert [label.get_text().split() for label in without.get_xticklabels()] == [["0", "emb."], ["1"], ["2"]]


def test_a_model_of_which_only_the_head_is_read() -> None:
    frame = scores([2, 24], heads=2)
    frame = frame[(frame["model"] == "m0") | (frame["reading"] == "head")]
    frame = pd.concat([frame, frame[frame["reading"] == "head"].assign(reading="gold", f1=99)])
    figure = plotting.f1_by_layer(frame)
    curve, head = lines(figure.axes[0])
    assert (len(curve.get_xdata()), list(head.get_ydata())) == (3, [85])
    assert legend_of(figure) == ["m0", "m1", 'always "no answer"']
    assert figure.axes[0].get_xticks().tolist() == [0, 1, 2, 3]  # three layers and the heads
    assert [label.get_text() for label in plotting.heat_map(frame).axes[0].get_yticklabels()] == ["m0"]


def test_panels_are_the_four_kinds_of_question_with_their_own_floors() -> None:
    figure = plotting.panels(scores([2, 2], heads=1))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["all", "HasAns", "NoAns", "HasAns, answer forced"]
    assert [[line.get_ydata()[0] for line in lines(axes, "always")] for axes in figure.axes] == [[60], [0], [100], []]
    assert [lines(axes)[1].get_ydata()[0] for axes in figure.axes] == pytest.approx([52.4, 11, 80, 16])
    assert legend_of(figure) == ["m0", "m1", 'always "no answer"']


@pytest.mark.parametrize(("draw", "count"), zip(CURVES, (2, 2, 8, 4), strict=True))
def test_a_panel_for_each_protocol(draw: Callable[[pd.DataFrame], Figure], count: int) -> None:
    figure = draw(scores([2, 3], protocols=("paper", "corrected")))
    assert len(figure.axes) == count
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sum("paper" in title for title in titles) == sum("corrected" in title for title in titles) == count // 2
    assert "protocol)" not in figure.get_suptitle()
    assert "(paper protocol)" in draw(scores([2])).get_suptitle()


def test_an_empty_group_is_said_to_be_empty() -> None:
    frame = scores([2, 2], heads=1).assign(total=4, NoAns_total=NAN, NoAns_f1=NAN, NoAns_exact=NAN)
    figure = plotting.panels(frame)
    assert [text.get_text() for text in figure.axes[2].texts] == ["no such questions"]
    assert not lines(figure.axes[2])
    assert "4 questions: 4 HasAns, 0 NoAns" in figure.get_suptitle()


def test_nine_models_differ_in_colour_and_marker() -> None:
    drawn = lines(plotting.f1_by_layer(scores([3] * 9)).axes[0])
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == 9
    for a, b in combinations(drawn, 2):
        assert np.abs(np.subtract(to_rgb(a.get_color()), to_rgb(b.get_color()))).sum() > 0.25
    assert len(lines(plotting.f1_by_layer(scores([1] * 23)).axes[0])) == 23


@pytest.mark.parametrize("sizes", [[12], [24] * 2, [6, 12, 24] * 3], ids=["one", "deep", "nine"])
@pytest.mark.parametrize("draw", CURVES)
def test_nothing_overlaps_or_is_cut_off(draw: Callable[[pd.DataFrame], Figure], sizes: list[int]) -> None:
    frame = scores(sizes, epochs=3, heads=1)
    longest = (
        "sentence-transformers--" * 4 if len(sizes) == 1 else "sentence-transformers--distilbert-base-uncased-squad2-"
    )
    frame["model"] = longest + frame["model"]
    figure = draw(frame)
    FigureCanvasAgg(figure).draw()
    inside = figure.bbox.padded(1)
    texts: list[Text] = [text for legend in figure.legends for text in legend.get_texts()]
    assert figure._suptitle is not None
    for axes in figure.axes:
        ticks = [label for label in axes.get_xticklabels() if label.get_text().strip()]
        boxes = [label.get_window_extent() for label in ticks]
        # "own head" stands on the second line, beside and not upon the number before it
        numbers = [box for label, box in zip(ticks, boxes, strict=True) if label.get_text().strip() != "own head"]
        assert all(left.x1 < right.x0 for left, right in pairwise(numbers))
        assert not any(box.overlaps(axes.xaxis.label.get_window_extent()) for box in (boxes[0], boxes[-1]))
        assert axes.xaxis.label.get_window_extent().y1 < boxes[0].y0 + 0.6 * boxes[0].height  # below the numbers
        texts += [*ticks, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    titles = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert not any(a.overlaps(b) for a, b in combinations(titles, 2))
    for text in [*texts, figure._suptitle]:
        box = text.get_window_extent()
        assert inside.contains(box.x0, box.y0), text
        assert inside.contains(box.x1, box.y1), text
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes)


def test_heat_map_leaves_missing_layers_blank() -> None:
    figure = plotting.heat_map(scores([2, 4], epochs=2))
    axes = figure.axes[0]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert set(shown) == {(layer, 0) for layer in range(3)} | {(layer, 1) for layer in range(5)}
    assert shown[4, 1] == "54.4"  # 48 + 0.4 * (10 + 4 + 2)
    assert np.argwhere(np.ma.getmaskarray(axes.images[0].get_array())).tolist() == [[0, 3], [0, 4]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["m0", "m1"]
    assert len(plotting.heat_map(scores([2, 4], protocols=("paper", "corrected"))).axes) == 2 + 1  # and the colour bar
    assert len(plotting.heat_map(scores([24])).axes[0].texts) == 25


def test_epochs_are_a_line_each_until_there_are_many() -> None:
    figure = plotting.epochs(scores([2, 2, 4, 2, 2], epochs=3))
    assert len(figure.axes) == 5
    assert [len(lines(axes, "epoch")) for axes in figure.axes] == [3] * 5
    assert list(lines(figure.axes[1], "epoch 3")[0].get_ydata()) == pytest.approx([53.2, 53.6, 54.0])
    many = legend_of(plotting.epochs(scores([2], epochs=30)))
    assert many[0] == "epoch 1"
    assert many[-2:] == ["epoch 30", 'always "no answer"']
    assert len(many) <= 8


def test_a_convex_fit_has_one_curve_without_an_epoch() -> None:
    frame = scores([2, 3]).assign(epoch=NAN, learning_rate=NAN, seed=NAN, protocol="corrected")
    assert legend_of(plotting.epochs(frame)) == ["optimum", 'always "no answer"']
    assert len(lines(plotting.f1_by_layer(frame).axes[0])) == 2


def test_loss_curves() -> None:
    figure = plotting.loss_curves(losses([2, 4]))
    assert [len(axes.lines) for axes in figure.axes] == [3, 5, 0]  # the last is the colour bar
    assert list(figure.axes[1].lines[4].get_ydata()) == [4.9, 4.8]
    colours = [line.get_color() for line in figure.axes[1].lines]
    assert [line.get_color() for line in figure.axes[0].lines] == colours[:3]
    assert len(set(colours)) == 5
    (said,) = plotting.loss_curves(losses([])).axes[0].texts
    assert said.get_text() == "no probe was trained by gradient steps"


def test_global_style_is_left_alone() -> None:
    before = dict(rcParams)
    plotting.panels(scores([2]))
    plotting.heat_map(scores([2]))
    assert dict(rcParams) == before


PROGRAM = """
import sys
from pathlib import Path
from stages.qa.report import curve_figures as plotting, tables
from stages.qa.report.style import save
source, target = map(Path, sys.argv[1:])
models = ["m1", "m0"]
frame, losses = tables.read_layers(source / "layers", models), tables.read_losses(source / "loss", models)
for name in ("f1_by_layer", "exact_by_layer", "panels", "heat_map", "epochs"):
    save(getattr(plotting, name)(frame), target / f"{name}.png")
save(plotting.loss_curves(losses), target / "loss_curves.png")
for kind in ("svg", "pdf"):
    save(plotting.f1_by_layer(frame), target / f"f1.{kind}")
(target / "results.md").write_text(tables.result_table(frame))
assert "matplotlib.pyplot" not in sys.modules
"""


def test_the_same_bytes_in_fresh_processes(tmp_path: Path) -> None:
    for name, whole in (("layers", scores([2, 3], epochs=2, seeds=2, heads=1)), ("loss", losses([2, 3]))):
        (tmp_path / name).mkdir()
        for model, rows in whole.groupby("model"):
            rows.to_csv(tmp_path / name / f"{model}.csv", index=False)
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsavefig.facecolor: red\nfont.size: 30\n")
    processes = []
    for run, setting in enumerate(({}, {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(tmp_path / f"plots{run}")]
        environment = {**os.environ, "PYTHONHASHSEED": str(run), **setting}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE))
    written = []
    for run, process in enumerate(processes):
        _, err = process.communicate()
        assert process.returncode == 0, err
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"plots{run}").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 9  # six figures, one in two more formats, the table, and no leftovers
    assert not any(b"Software" in data for name, data in written[0].items() if name.endswith(".png"))


@pytest.mark.parametrize("template", ["layer_curve", "loss_curve"])
def test_dvc_templates_name_columns_that_exist(template: str) -> None:
    data = tables.long_form(scores([2])) if template == "layer_curve" else losses([2])
    fields = fields_of(json.loads((ROOT / f".dvc/plots/{template}.json").read_text()))
    assert {field for field in fields if not field.startswith("<DVC_METRIC_")} <= {*data.columns, "rev"}
    assert {"model", "rev"} <= fields


def fields_of(spec: object) -> set[str]:
    """All columns that a Vega-Lite specification names."""
    if isinstance(spec, dict):
        own = {spec["field"]} if "field" in spec else set(spec["fields"]) if "fields" in spec else set()
        return own.union(*map(fields_of, spec.values()))
    return set().union(*map(fields_of, spec)) if isinstance(spec, list) else set()

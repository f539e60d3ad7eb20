"""What the charts hold: numbers to work out by hand from the example, in panels, lines, levels and captions."""

from dataclasses import replace

import pandas as pd
import pytest

from stages.qa.report.charts import Chart, curve_charts, evidence_charts
from stages.qa.report.probing_charts import probing_charts, similarity_caption, similarity_rows
from stages.qa.report.results import Results
from tests.report.figure_example import NAN, example, of_layers

NOTHING = pd.DataFrame(columns=["reading", "model_prefix", "layer", "f1_published", "f1_ours"])


def curves(results: Results, ladder: tuple[str, ...] = ()) -> dict[str, Chart]:
    return curve_charts(results, ladder, 0.95)


@pytest.fixture(scope="module")
def evidence() -> dict[str, Chart]:
    """Of m0, fine-tuned from m1, with three layers each; m0 has a head."""
    results = example([2, 2], protocols=("corrected", "paper"), heads=1)
    return evidence_charts(results, NOTHING, 0.95) | probing_charts(results, 0.95)


def values(chart: Chart, panel: str, line: str, column: str = "value") -> list[float]:
    points = chart.points()
    points = points[points["single"].isna()]
    return points.loc[(points["panel"] == panel) & (points["line"] == line), column].tolist()


def levels(chart: Chart) -> dict[str, float]:
    return {panel: height for panel, _, height in chart.levels}


def test_curves_show_the_last_epoch_the_mean_over_seeds_and_the_head() -> None:
    chart = curves(example([2, 1], epochs=3, seeds=3, heads=1, bands=True))["f1_by_layer"]
    layers = [48 + 0.4 * (layer + 3 + 0.1) for layer in (0, 1, 2)]
    assert values(chart, "paper: F1", "m0") == pytest.approx([*layers, 84])
    assert values(chart, "paper: F1", "m0", "x")[:3] == [0, 1, 2]
    assert chart.points()["x"].isna().sum() == 1  # the head
    assert values(chart, "paper: F1", "m0", "low") == pytest.approx([value - 2 for value in (*layers, 84)])
    assert levels(chart) == {"paper: F1": 60.0}
    assert chart.caption.endswith("4 HasAns, 6 NoAns; 95 % bands, from 12 articles")
    assert curves(example([2]))["f1_by_layer"].caption.endswith("4 HasAns, 6 NoAns")


def test_exact_match_is_that_of_its_own_column() -> None:
    chart = curves(example([2], heads=1))["exact_by_layer"]
    assert values(chart, "paper: exact match", "m0") == pytest.approx([24.2, 24.4, 24.6, 42])


def test_nothing_relies_on_the_order_of_rows() -> None:
    results = example([2, 3], protocols=("paper", "corrected"), epochs=2, seeds=2, heads=1, bands=True)
    frames = {name: getattr(results, name).sample(frac=1, random_state=0) for name in ("layers", "intervals")}
    shuffled = curves(replace(results, **frames))
    for name, chart in curves(results).items():
        one, other = (
            c.points().sort_values(["panel", "line", "single", "x"], ignore_index=True) for c in (chart, shuffled[name])
        )
        pd.testing.assert_frame_equal(one, other)


def test_panels_are_the_four_kinds_of_question_with_their_own_floors() -> None:
    chart = curves(example([2, 2], protocols=("paper", "corrected"), heads=1))["panels"]
    kinds = ["all", "HasAns", "NoAns", "HasAns, answer forced"]
    assert chart.panel_names() == [f"{name}: {kind}" for name in ("paper", "corrected") for kind in kinds]
    assert chart.across == 4
    assert [levels(chart).get(panel) for panel in chart.panel_names()] == [60, 0, 100, None] * 2
    assert [values(chart, f"paper: {kind}", "m1")[0] for kind in kinds] == pytest.approx([52.4, 11, 80, 16])


def test_the_ladder_has_a_row_per_model_and_a_curve_per_protocol() -> None:
    results = example([2, 3], protocols=("a", "b", "c"))
    layers = results.layers.assign(HasAns_f1=results.layers["HasAns_f1"].where(results.layers["protocol"] != "c", 7.0))
    chart = curves(of_layers(layers), ("c", "b"))["protocols"]
    assert chart.panel_names()[::4] == ["m0: all", "m1: all"]
    assert chart.line_names() == ["c", "b"]
    assert values(chart, "m0: HasAns", "c") == [7, 7, 7]
    assert values(chart, "m0: HasAns", "b") == [1, 2, 3]
    assert set(chart.points()["line"]) == {"b", "c"}
    assert curves(results)["protocols"].line_names() == ["a", "b", "c"]


def test_an_empty_group_keeps_its_panel() -> None:
    layers = example([2, 2], heads=1).layers.assign(total=4, NoAns_total=NAN, NoAns_f1=NAN, NoAns_exact=NAN)
    chart = curves(of_layers(layers))["panels"]
    assert "paper: NoAns" in chart.panel_names()
    assert "paper: NoAns" not in set(chart.points()["panel"])
    assert "4 questions: 4 HasAns, 0 NoAns" in chart.caption


def test_captions_say_what_is_counted(evidence: dict[str, Chart]) -> None:
    for name in ("differences", "quality"):
        assert "700 questions of 15 articles; corrected protocol" in evidence[name].caption
    assert evidence["differences"].caption.endswith("95 % bands, from 12 articles")
    assert "12 sampled HasAns questions\nall trained on the same 33" in evidence["controls"].caption


def test_differences_have_a_row_per_comparison(evidence: dict[str, Chart]) -> None:
    chart = evidence["differences"]
    assert chart.panel_names()[::4] == ["layer less the one below: all", "fine-tuned less pretrained: all"]
    assert values(chart, "layer less the one below: all", "m1", "x") == [1, 2]
    panel = "fine-tuned less pretrained: HasAns"
    assert values(chart, panel, "m0") == [1, 2, 3]
    assert values(chart, panel, "m0", "high") == [3, 4, 5]
    assert set(levels(chart).values()) == {0}
    none = pd.DataFrame(columns=example([2]).steps.columns)
    alone = replace(example([2, 2]), steps=none, differences=none)
    assert evidence_charts(alone, NOTHING, 0.95)["differences"].panel_names() == []


def test_quality(evidence: dict[str, Chart]) -> None:
    chart = evidence["quality"]
    nll, ranking, calibration, f1 = chart.panel_names()
    assert values(chart, nll, "m0")[:3] == [0.5, 1.5, 2.5]
    assert values(chart, ranking, "m1") == pytest.approx([52.4, 52.8, 53.2])
    assert values(chart, calibration, "m0")[3] == 42  # the head
    assert levels(chart) == {ranking: 40, f1: 60}


def test_breakdowns_leave_out_small_groups_and_single_ones() -> None:
    results = example([2])
    more = results.breakdown.assign(answerable=results.breakdown["answerable"] + 1)
    charts = evidence_charts(replace(results, breakdown=more), NOTHING, 0.95)
    assert [name for name in charts if name.startswith("by_")] == ["by_question_word"]
    assert charts["by_question_word"].line_names() == ["what (61)", "who (20)"]
    assert values(charts["by_question_word"], "m0", "who (20)") == [6, 7, 8]
    assert not any(name.startswith("by_") for name in evidence_charts(results, NOTHING, 0.95))


def test_questions_settle(evidence: dict[str, Chart]) -> None:
    chart = evidence["settling"]
    assert chart.line_names() == ["what (90)"]
    assert values(chart, "m0", "what (90)") == [7, 7, 7]
    assert values(chart, "m0", "what (90)", "x") == [0, 1, 2]
    assert evidence_charts(example([2]), NOTHING, 0.95)["settling"].points().empty  # no lens


def test_a_strength_has_one_point_a_layer_the_mean_over_runs() -> None:
    results = example([1], protocols=("corrected",))
    one = results.layers[results.layers["final"]].assign(l2=0.1, learning_rate=NAN, epoch=NAN, seed=NAN)
    two = one.assign(run="another", forced_f1=one["forced_f1"] + 4)
    weak = pd.concat([one, two])
    chart = probing_charts(replace(results, layers=pd.concat([weak, weak.assign(l2=1.0)])), 0.95)["strengths"]
    expected = one.loc[one["layer"] == 1, "forced_f1"].iloc[0] + 2
    assert [f"{value:.4f}" for value in values(chart, "m0: HasAns, answer forced", 1)] == [f"{expected:.4f}"] * 2
    alone = probing_charts(replace(results, layers=weak), 0.95)["strengths"]
    assert alone.points().empty  # one strength alone shows no change


def test_learning_description_and_strengths(evidence: dict[str, Chart]) -> None:
    assert evidence["learning"].line_names() == [0, 1, 2]
    assert values(evidence["learning"], "m1", 2) == [2]
    assert values(evidence["description"], "compression", "m0") == [1, 2, 3]
    assert evidence["strengths"].panel_names() == []
    results = example([1])
    optimum = results.layers.assign(learning_rate=NAN, epoch=NAN)
    layers = pd.concat([optimum.assign(l2=0.1), optimum.assign(l2=10.0, forced_f1=77.0)])
    chart = probing_charts(replace(results, layers=layers[layers["final"]]), 0.95)["strengths"]
    assert chart.panel_names() == ["m0: HasAns", "m0: HasAns, answer forced"]
    assert values(chart, "m0: HasAns, answer forced", 1) == [7, 77]
    assert values(chart, "m0: HasAns, answer forced", 1, "x") == [-1, 1]


def test_controls_losses_and_similarity(evidence: dict[str, Chart]) -> None:
    assert evidence["controls"].line_names() == ["task", "no_question", "position_only"]
    assert values(evidence["controls"], "m0", "task") == [40, 41, 42]
    losses = evidence["loss_curves"]
    assert losses.line_names() == [0, 1, 2]
    points = losses.points()
    assert points[(points["panel"] == "m1") & (points["line"] == 2)]["value"].tolist() == pytest.approx([4.95, 4.9])
    cells = similarity_rows(example([2, 3]))
    assert list(cells["panel"].unique()) == ["m0", "m0 and m1", "m1"]
    pair = cells[cells["panel"] == "m0 and m1"].pivot(index="other_layer", columns="layer", values="value")
    assert pair.loc[3].tolist() == [30, 31, 32]  # a row is a layer of the other model


def test_three_curves() -> None:
    results = example([2, 2], heads=1, bands=True)
    probes = results.intervals[results.intervals["reading"] == "probe"]
    lens = probes[probes["model"] == "m0"].assign(reading="lens", estimate=1.0)
    grafts = pd.concat([lens.assign(reading=kind, estimate=9.0) for kind in ("graft", "graft_reverse")])
    intervals = pd.concat([results.intervals[results.intervals["reading"] != "lens"], lens])
    chart = probing_charts(replace(results, intervals=intervals, grafts=grafts), 0.95)["three_curves"]
    assert chart.panel_names() == ["m0: probe", "m0: lens", "m0: grafts"]
    assert len(values(chart, "m0: probe", "its base")) == 3
    assert values(chart, "m0: lens", "fine-tuned") == [1.0] * 3
    assert values(chart, "m0: grafts", "base up to this layer", "x") == [0, 1, 2]
    assert values(chart, "m0: grafts", "base after this layer") == [9.0] * 3
    assert levels(chart) == {"m0: probe": 10}


def test_a_study_of_heads_alone() -> None:
    results = example([2], heads=1)
    heads = results.layers[results.layers["reading"] == "head"]
    nothing = {name: getattr(results, name).iloc[:0] for name in ("controls", "similarity", "differences")}
    results = replace(results, layers=heads, **nothing)
    assert values(curves(results)["f1_by_layer"], "paper: F1", "m0")[-1] == 84
    assert probing_charts(results, 0.95)["controls"].points().empty
    assert similarity_caption(results.similarity).endswith("0 tokens of the sampled dev questions")

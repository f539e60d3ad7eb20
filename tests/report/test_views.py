"""The tables of the report give the numbers of the frames, worked out by hand."""

from dataclasses import replace
from pathlib import Path

from stages.qa.report import charts, findings, html, original, probing_charts, views
from stages.qa.report.results import read_results
from stages.qa.scoring.curves import LOSS
from tests.page_example import ROOT, write, write_study
from tests.report.example import curves, gold_or_head, point

B = [
    point("b", 0, 0, 100),
    point("b", 0, 0, 100, seed=2),
    point("b", 1, 50, 80),
    point("b", 1, 30, 90, seed=2),
    point("b", 2, 20, 90),
    point("b", 2, 20, 90, seed=2),
    point("b", 0, 99, 99, epoch=1),  # better, but not the last epoch
    point("b", 2, 98, 98, learning_rate=0.2),  # better, but not the first learning rate
    gold_or_head("head", "b", 2, 55, 80),
]
# Layers 1 and 2 tie with the floor in F1, and beat layer 0 in HasAns F1.
A = [point("a", 0, 0, 100), point("a", 1, 15, 90), point("a", 2, 15, 90)]


def test_result_table() -> None:
    other = [gold_or_head("head", "a", 2, 1, 1, protocol="other", headline=False)]
    table = views.result_table(curves([*B, *A, *other]), "paper")
    assert table.head[:4] == ["model", "", "layer", "exact"]
    assert table.rows == [
        ["b", "first layer", "0", "60.00", "60.00", "0.00", "100.00", "5.00"],
        ["b", "highest F1", "1", "59.00", "67.00", "40.00", "85.00", "45.00"],
        ["b", "last layer", "2", "58.00", "62.00", "20.00", "90.00", "25.00"],
        ["b", "own head", "–", "59.00", "70.00", "55.00", "80.00", "60.00"],
        ["a", "first layer", "0", "60.00", "60.00", "0.00", "100.00", "5.00"],
        ["a", "highest F1", "1", "57.00", "60.00", "15.00", "90.00", "20.00"],
        ["a", "last layer", "2", "57.00", "60.00", "15.00", "90.00", "20.00"],
    ]


def test_ladder_tables() -> None:
    second = [row | {"protocol": "next", "headline": False, "NoAns_f1": row["NoAns_f1"] - 10} for row in A]
    table = views.ladder_tables(findings.ladder(curves([*A, *second]), ["paper", "next"]))[0]
    assert table.caption == "a"
    assert table.rows[0] == ["paper → next", "+0.00", "+0.00", "-10.00", "+0.00"]
    assert [row[0] for row in table.rows] == ["paper → next", "total"]


def test_depth_tables(tmp_path: Path) -> None:
    """A layer costs a third; of 89 questions, 35 settle at 10 % a layer and 54 at 20 %."""
    write_study(tmp_path)
    results = read_results(tmp_path, {name: [name] for name in ("tuned", "base")}, {"tuned": "base"})
    other = results.intervals["metric"] == "f1"
    intervals = results.intervals.assign(estimate=results.intervals["estimate"].mask(other, 99.0))
    (table,) = views.depth_tables(replace(results, intervals=intervals))
    assert table.caption == "tuned, cut at a layer"
    assert table.head == ["layer", "multiply-adds", "forced", "settled"]
    assert table.rows == [
        ["0", "0.0", "12.0 (10.0 to 14.0)", "0.0"],
        ["1", "33.3", "12.0 (10.0 to 14.0)", "16.1"],
        ["2", "66.7", "12.0 (10.0 to 14.0)", "32.1"],
        ["3", "100.0", "12.0 (10.0 to 14.0)", "48.2"],
    ]


def test_missing_values() -> None:
    assert html.number(float("nan")) == html.number(float("nan"), "g") == "–"
    assert [html.number(2.5), html.number(2.0, "+.2f"), html.number(4.0, "g")] == ["2.50", "+2.00", "4"]


def test_a_study_without_comparisons(tmp_path: Path) -> None:
    write_study(tmp_path)
    write(tmp_path, "base", "evaluate/loss", [], LOSS)  # of probes at the optimum alone
    results = read_results(tmp_path, {"base": ["base"]}, {})
    comparison = original.compare(results.layers, original.read_published(ROOT / "studies/published"), "one")
    evidence = charts.evidence_charts(results, comparison, 0.95)
    assert len(evidence["differences"].points()) == 3
    assert probing_charts.probing_charts(results, 0.95)["loss_curves"].line_names() == []

"""Lineage, ladder, headline and best layers, on curves worked out by hand.

Every frame has 4 HasAns and 6 NoAns questions, so that F1 is 0.4 HasAns + 0.6 NoAns and the floor is 60.
"""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.qa.report import findings
from stages.qa.report.findings import Lineage
from stages.qa.scoring.intervals import Resampled
from tests.report.example import curves, gold_or_head, point
from tests.scoring.test_intervals import SETTINGS


def test_pretrained_bases() -> None:
    models = ["twmkn9--bert-base-uncased-squad2", "tuned", "ahotrod--albert_xxlargev1_squad2_512", "bert-base-uncased"]
    assert findings.pretrained_bases(models, {"tuned": "base", "again": "tuned"}) == {
        "tuned": "base",
        "again": "base",
        "twmkn9--bert-base-uncased-squad2": "bert-base-uncased",
    }
    assert findings.pretrained_bases([], {"more": models[0]}) == {"more": models[0]}  # not probed, not in models


def test_lineage() -> None:
    encoders: Any = {
        "base": SimpleNamespace(seed=None, random_weights_of=None),
        "noise": SimpleNamespace(seed=3, random_weights_of="base"),
        "more": SimpleNamespace(seed=4, random_weights_of="base"),
    }
    finetuned: Any = {"tuned": SimpleNamespace(base="base")}
    family = findings.lineage(["tuned", "noise", "base"], encoders, finetuned)
    assert list(family.kinds.items()) == [("tuned", "fine-tuned"), ("noise", "random weights"), ("base", "pretrained")]
    assert family.bases == {"tuned": "base"}
    assert family.twins == {"base": "noise"}


LADDER = curves(
    [
        *(point("a", layer, has, 100 - has, protocol="p") for layer, has in enumerate((10, 20, 30))),
        *(point("a", layer, has, 90, protocol="q") for layer, has in enumerate((10, 60, 40))),
        *(point("a", layer, has, 80, protocol="r") for layer, has in enumerate((10, 50, 50))),
        *(point("a", layer, 0, 0, protocol="not a step") for layer in range(3)),
        gold_or_head("head", "a", 2, 99, 99, protocol="p"),
    ]
)


def test_ladder_by_hand() -> None:
    table = findings.ladder(LADDER, ["p", "q", "r"]).set_index("step")
    changes = table[["HasAns_f1", "NoAns_f1", "f1", "forced_f1"]]
    assert changes.to_numpy().tolist() == [[10, 20, 16, 10], [10, -10, -2, 10], [20, 10, 14, 20]]
    assert list(table.index) == ["p → q", "q → r", "total"]


def test_steps_add_up_to_the_whole_difference() -> None:
    random = np.random.default_rng(0)
    names = ["p0", "p1", "p2", "p3", "p4"]
    rows = [
        point(model, layer, *random.uniform(0, 100, 2), protocol=name, seed=seed)
        for model in ("a", "b")
        for name in random.permutation(names)
        for layer in range(4)
        for seed in (1, 2)
    ]
    table = findings.ladder(curves(rows), names)
    assert len(table) == 2 * 5
    for _, part in table.groupby("model"):
        scores = part.set_index("step")[findings.STEP_SCORES]
        np.testing.assert_allclose(scores.drop("total").sum(), scores.loc["total"], atol=1e-9)


def test_a_ladder_needs_two_protocols() -> None:
    assert findings.ladder(LADDER, []).empty
    assert findings.ladder(LADDER, ["p"]).empty


FAMILY = Lineage({"tuned": "fine-tuned", "base": "pretrained"}, {"tuned": "base"}, {"base": "noise"})


def resampled(forced: list[float], error: float = 0.0, seed: int = 0, runs: int = 1) -> Resampled:
    """A curve over layers 0, 1, ...; F1 is 60 and a tenth. `error`: standard deviation of each layer's resamples."""
    values = np.array([forced])
    if error:
        noise = np.random.default_rng(seed).normal(0, error, (1000, len(forced)))
        values = np.concatenate([values, values + noise])
    metrics = {"forced_f1": values, "f1": 60 + values / 10}
    return Resampled(list(range(len(forced))), metrics, 0.95, {"forced_f1": 4000, "f1": 9000}, 1000, "article", runs)


def headline(family: Lineage = FAMILY, error: float = 0.0, **curves: list[float]) -> findings.Headline:
    given = {(model, "p"): resampled(forced, error, seed) for seed, (model, forced) in enumerate(curves.items())}
    return findings.headline(given, "p", family, 60.0)


def test_headline_without_resamples() -> None:
    said = headline(tuned=[5, 6, 30, 34, 35], base=[5, 8, 10, 7, 6], noise=[7, 7, 7, 7, 7])
    assert said.answer == (
        "Fine-tuning adds 25.0 points of F1 with an answer forced; tuned is at its best from layer 4 on."
    )
    assert said.notes == [
        "Highest F1 with an answer forced: tuned 35.0 from layer 4 on; pretrained base 10.0 at layer 2; "
        "random weights 7.0.",
        "Most of the gain over the base comes between layers 1 and 2: 22.0 points.",
        'Over all questions: 63.5 against 61.0 of base; always answering "no answer" scores 60.0.',
        "One training run: another would differ by an unknown amount, which is in no interval.",
        "The random weights are one draw.",
    ]


def test_headline_with_resamples_names_no_layer_by_its_height_alone() -> None:
    said = headline(tuned=[5, 6, 30, 34.9, 35], base=[5, 8, 10, 9.9, 6], noise=[7, 7, 7, 7, 7], error=0.4)
    assert said.answer.endswith("tuned is at its best from layer 3 on.")
    assert "pretrained base 10.0 (" in said.notes[0]
    assert "at layers 2, 3;" in said.notes[0]
    low, high = map(float, re.findall(r"adds 25.0 \((.*?) to (.*?)\)", said.answer)[0])
    assert 23.5 < low < 24.3  # two standard errors of the difference of two layers are 1.1; the maxima favour neither
    assert 25.7 < high < 26.5


def test_headline_names_the_runs() -> None:
    curves = {("tuned", "p"): resampled([5, 30], runs=3), ("base", "p"): resampled([5, 10])}
    said = findings.headline(curves, "p", FAMILY, 60.0)
    assert said.notes[-1] == "Intervals are over articles and over 3 runs of tuned."
    curves["tuned", "p"] = replace(curves["tuned", "p"], unit="paragraph")
    assert findings.headline(curves, "p", FAMILY, 60.0).notes[-1].startswith("Intervals are over paragraphs")
    curves["tuned", "p"] = replace(curves["tuned", "p"], clusters=1)
    assert findings.headline(curves, "p", FAMILY, 60.0).notes[-1] == "No intervals: all questions are of one paragraph."


def test_where_most_of_the_gain_comes() -> None:
    """Of a difference of 12, no step of 6 is most; what is there at the embeddings comes nowhere."""
    for tuned, expected in (
        ([15, 5, 11, 17], "Most of the gain over the base comes between layers 1 and 3: 12.0 points."),
        ([50, 50, 50, 53], "No stretch of layers surely holds most of the gain over the base."),
    ):
        assert expected in headline(tuned=tuned, base=[5, 5, 5, 5]).notes


def test_headline_of_other_studies() -> None:
    alone = headline(Lineage({}, {}, {}), tuned=[5, 6, 30])
    assert alone.answer == "tuned is at its best from layer 2 on: F1 with an answer forced 30.0."
    worse = headline(Lineage({}, {"base": "tuned"}, {}), tuned=[5, 35], base=[5, 10])
    assert worse.answer.startswith("Fine-tuning changes F1 with an answer forced by -25.0 points")
    assert len(worse.notes) == 3  # there is no gain of which most could be somewhere
    assert findings.headline({}, "p", FAMILY, 60.0).answer == "No layer was probed."


def test_both_forms_of_the_probe_against_a_paired_t_interval() -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0, 50, size=40)  # of 100 questions each: articles differ much, their gains little
    gains = {"task": generator.normal(20, 3, size=40), "question_products": generator.normal(10, 3, size=40)}
    rows = [
        {"model": model, "control": form, "layer": layer, "cluster": cluster, "questions": 100, "f1_sum": f1_sum}
        for form, gain in gains.items()
        for model, best in (("tuned", base + gain), ("base", base))
        for layer, curve in enumerate([best - 30, best])
        for cluster, f1_sum in enumerate(curve)
    ]
    clusters = pd.DataFrame(rows)
    said = findings.both_forms(clusters, {"more": "base", "tuned": "base", "base": "tuned"}, SETTINGS)
    form = r"On the sample, fine-tuning adds (\S+) \((\S+) to (\S+)\) points of forced F1 to the linear probe at its "
    form += r"best layer and (\S+) \((\S+) to (\S+)\) to the probe that sees the question \(tuned less base, .*\)\."
    match = re.fullmatch(form, said)
    assert match
    numbers = iter(map(float, match.groups()))
    for gain in gains.values():
        low, high = stats.ttest_1samp(gain, 0).confidence_interval()
        expected = [gain.mean(), low, high]
        assert [next(numbers) for _ in expected] == pytest.approx(expected, abs=0.25)
    assert findings.both_forms(clusters[clusters["model"] == "tuned"], {"tuned": "base"}, SETTINGS) == ""
    assert findings.both_forms(clusters.iloc[:0], {"tuned": "base"}, SETTINGS) == ""


def test_peaks() -> None:
    curves = {("m", "p"): resampled([5, 30, 30.1], 0.5), ("m", "q"): resampled([1])}
    (row,) = findings.peaks(curves, "p", "forced_f1")
    assert (row["model"], row["where"]) == ("m", "from layer 1 on")
    assert row["score"].startswith("30.1 (")

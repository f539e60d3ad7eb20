"""Intervals of curves and paired differences: estimates against the curve's points, pairing, seeds, what is refused."""

import numpy as np
import pytest

from stages.qa.answering.answers import Reading
from stages.qa.config import Statistics
from stages.qa.errors import InputError
from stages.qa.probing.readouts import Readout
from stages.qa.scoring.curves import curve_points
from stages.qa.scoring.intervals import (
    DIFFERENCES,
    FINETUNING,
    INTERVALS,
    METRICS,
    STEP,
    difference_rows,
    interval_rows,
)
from stages.qa.scoring.quality import QUALITY, fold_of, quality_rows, reliability_rows
from stages.qa.scoring.question_scores import QuestionScores, score_questions
from tests.scoring.test_curves import EXAMPLES, GIVEN

SETTINGS = Statistics(unit="auto", resamples=500, confidence=0.95, seed=0, folds=5, calibration_bins=10)


def scores(
    seed: int, *, layers: int = 3, seeds: int = 1, articles: int = 12, gain: float = 0.0, head: bool = False
) -> QuestionScores:
    """Random scores; the questions of one `articles` are the same whatever the rest. Layer l is right in 30+10 l %."""
    rng = np.random.default_rng(articles)
    article = np.repeat(np.arange(articles), rng.integers(20, 40, articles)).astype(np.int32)
    paragraph = (3 * article + rng.integers(0, 3, len(article))).astype(np.int32)
    answerable, hard = rng.random(len(article)) < 0.6, rng.normal(0, 0.1, articles)[article]
    rng = np.random.default_rng(seed)
    readings = [Reading("probe", la, Readout("adamw", 3, 0.1, se)) for se in range(seeds) for la in range(layers)]
    readings += [Reading("head", layers - 1, None)] * head
    level = np.array([0.3 + 0.1 * reading.layer + gain for reading in readings])
    f1 = (rng.random((len(readings), len(article))) < level[:, None] + hard).astype(float)
    nothing = np.zeros((*f1.shape, 2), dtype=np.int32)
    forced = np.where(answerable, f1, 0.0)
    nll = rng.random(f1.shape)
    ids = [f"q{i}" for i in range(len(article))]
    null = np.clip(0.3 * (1 - answerable) + 0.7 * rng.random(f1.shape), 0, 1)
    return QuestionScores(
        readings, ids, [ids] * len(f1), nothing, f1 > 0, null, f1, f1, forced, forced, nll, nll + 1,
        answerable, article, paragraph, np.ones(len(ids), dtype=np.int32),
    )  # fmt: skip


def test_estimates_are_the_points_of_the_curve() -> None:
    rows = interval_rows("m", {"p": score_questions(EXAMPLES, GIVEN)}, SETTINGS)
    assert rows
    for point in curve_points("m", EXAMPLES, {"p": GIVEN}):
        for metric in METRICS:
            (row,) = [
                r for r in rows if (r["reading"], r["layer"], r["metric"]) == (point["reading"], point["layer"], metric)
            ]
            assert row["estimate"] == pytest.approx(point[metric], abs=1e-4)
            assert (row["unit"], row["clusters"], row["low"]) == ("paragraph", 1, None)  # one paragraph: no interval
            assert set(row) == set(INTERVALS)


def test_rows_name_unit_and_numbers() -> None:
    given = scores(0, head=True)
    rows = interval_rows("m", {"p": given}, SETTINGS)
    assert len(rows) == 2 * 5 * (3 + 1)  # units, metrics, layers and head
    assert list(dict.fromkeys(row["unit"] for row in rows)) == ["article", "paragraph"]
    assert {row["clusters"] for row in rows if row["unit"] == "article"} == {12}
    assert {row["clusters"] for row in rows if row["unit"] == "paragraph"} == {len(np.unique(given.paragraph))}
    for row in rows:
        kind = {"HasAns_f1": given.answerable, "forced_f1": given.answerable, "NoAns_f1": ~given.answerable}
        assert row["questions"] == kind.get(row["metric"], np.ones_like(given.answerable)).sum()
        assert 0 <= row["band_low"] <= row["low"] < row["estimate"] < row["high"] <= row["band_high"] <= 100
    assert rows == interval_rows("m", {"p": given}, SETTINGS)
    other = interval_rows("m", {"p": given}, SETTINGS.model_copy(update={"seed": 1}))
    assert [row["estimate"] for row in rows] == [row["estimate"] for row in other]
    assert [row["low"] for row in rows] != [row["low"] for row in other]


def test_several_seeds_are_averaged() -> None:
    given = scores(0, seeds=3)
    rows = [r for r in interval_rows("m", {"p": given}, SETTINGS) if (r["metric"], r["unit"]) == ("f1", "article")]
    expected = [100 * given.f1[[layer, layer + 3, layer + 6]].mean() for layer in range(3)]
    assert [row["estimate"] for row in rows] == pytest.approx(expected, abs=1e-4)


def test_differences_are_paired() -> None:
    base, tuned = scores(0), scores(1, gain=0.3)
    rows = difference_rows({"tuned": {"p": tuned}, "base": {"p": base}}, {"tuned": "base"}, SETTINGS)
    assert all(set(row) == set(DIFFERENCES) for row in rows)
    chosen = [r for r in rows if (r["metric"], r["unit"], r["model"]) == ("f1", "article", "tuned")]
    steps, gains = ([r for r in chosen if r["comparison"] == name] for name in (STEP, FINETUNING))
    assert ([r["layer"] for r in steps], [r["layer"] for r in gains]) == ([1, 2], [0, 1, 2])
    assert [r["estimate"] for r in gains] == pytest.approx(100 * (tuned.f1 - base.f1).mean(axis=1), abs=1e-4)
    assert [r["estimate"] for r in steps] == pytest.approx(100 * np.diff(tuned.f1.mean(axis=1)), abs=1e-4)
    assert all(r["band_low"] > 0 for r in gains)
    assert not [r for r in rows if r["model"] == "base" and r["comparison"] == FINETUNING]
    same = difference_rows({"tuned": {"p": base}, "base": {"p": base}}, {"tuned": "base"}, SETTINGS)
    nothing = [r for r in same if r["comparison"] == FINETUNING]
    assert {(r["estimate"], r["low"], r["high"], r["band_low"], r["band_high"]) for r in nothing} == {(0, 0, 0, 0, 0)}


def test_a_base_with_fewer_layers_or_none() -> None:
    rows = difference_rows(
        {"a": {"p": scores(0)}, "b": {"p": scores(1, layers=2)}}, {"a": "b", "b": "elsewhere"}, SETTINGS
    )
    assert {r["layer"] for r in rows if r["comparison"] == FINETUNING} == {0, 1}
    with pytest.raises(InputError, match="a and b answered different questions"):
        difference_rows({"a": {"p": scores(0)}, "b": {"p": scores(0, articles=13)}}, {"a": "b"}, SETTINGS)


def test_quality_of_the_official_answers() -> None:
    given = scores(0, seeds=2, head=True)
    rows = quality_rows("m", {"p": given}, {}, SETTINGS)
    assert [(row["reading"], row["layer"]) for row in rows] == [*(("probe", layer) for layer in range(3)), ("head", 2)]
    assert all(set(row) == set(QUALITY) for row in rows)
    first = rows[0]
    assert first["start_nll"] == pytest.approx(given.start_nll[[0, 3]].mean(), abs=1e-5)
    assert first["NoAns_end_nll"] == pytest.approx(given.end_nll[[0, 3]][:, ~given.answerable].mean(), abs=1e-5)
    assert first["auprc"] > first["auprc_chance"] == pytest.approx(100 * given.answerable.mean(), abs=1e-4)
    assert 50 < first["auroc"] < 100
    bins = reliability_rows("m", {"p": given}, SETTINGS)
    assert sum(row["questions"] for row in bins if row["layer"] == 1) == len(given.ids)


def test_thresholds_of_held_out_questions_are_applied_to_the_others() -> None:
    given, held_out = scores(0, head=True), scores(5, articles=4, head=True)
    rows = quality_rows("m", {"p": given}, {"p": held_out}, SETTINGS)
    for reading, row in enumerate(rows):
        probability = held_out.null_probability[reading]
        totals = {}
        for threshold in [-np.inf, *probability]:  # as the official script: refused above it
            f1 = np.where(probability > threshold, ~held_out.answerable, held_out.forced_f1[reading])
            totals[threshold] = round(f1.sum(), 9)
        best = min(threshold for threshold, total in totals.items() if total == max(totals.values()))
        nearest = min((p for p in probability if p > best), default=best)
        assert best <= row["held_out_threshold"] <= nearest
        refused = given.null_probability[reading] > row["held_out_threshold"]
        f1 = np.where(refused, ~given.answerable, given.forced_f1[reading])
        assert row["held_out_f1"] == pytest.approx(100 * f1.mean(), abs=1e-4)
        exact = [held_out.forced_exact[reading], ~held_out.answerable]
        totals = {t: np.where(probability > t, exact[1], exact[0]).sum() for t in [-np.inf, *sorted(probability)]}
        best = min(threshold for threshold, total in totals.items() if total == max(totals.values()))
        nearest = min((p for p in probability if p > best), default=best)
        refused = given.null_probability[reading] > (best + nearest) / 2
        right = np.where(refused, ~given.answerable, given.forced_exact[reading])
        assert row["held_out_exact"] == pytest.approx(100 * right.mean(), abs=1e-4)
        assert (row["held_out_questions"], row["held_out_articles"]) == (len(held_out.ids), 4)
    assert quality_rows("m", {"p": given}, {}, SETTINGS)[0]["held_out_f1"] is None


def test_folds_are_whole_articles() -> None:
    given = scores(0)
    folds = fold_of(given, 5)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[given.article == article])) == 1 for article in range(12))
    few = fold_of(scores(0, articles=3), 5)
    assert len(set(few)) == 5  # by paragraph

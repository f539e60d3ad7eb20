"""Ranking, calibration and thresholds against scikit-learn and brute force, and the tables of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from stages.qa.scoring.answerability import (
    QUALITY,
    average_precision,
    best_threshold,
    calibration_error,
    cross_fitted,
    folds_of,
    quality_rows,
)
from tests.scoring.test_intervals import SETTINGS, scores

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40)  # many ties


@given(PAIRS)
def test_the_area_is_scikit_learns(pairs: list[tuple[bool, int]]) -> None:
    positive, score = np.array([p for p, _ in pairs]), np.array([s / 6 for _, s in pairs])
    if positive.any():
        assert average_precision(positive, score) == pytest.approx(average_precision_score(positive, score))


def test_one_kind_has_no_area() -> None:
    assert np.isnan(average_precision(np.array([False]), np.array([0.1])))


def test_the_calibration_error_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probability = rng.beta(0.5, 0.5, 500)
    true = rng.random(500) < probability**2
    share, mean = calibration_curve(true, probability, n_bins=10)
    numbers = np.histogram(probability, np.linspace(0, 1, 11))[0]
    assert calibration_error(true, probability, bins=10) == pytest.approx(np.abs(mean - share) @ numbers / 500)
    assert calibration_error(np.array([True, False]), np.array([1.0, 0.0]), bins=10) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=1, max_size=25))
def test_the_best_threshold_is_the_best(rows: list[tuple[int, bool, int]]) -> None:
    answered = np.array([0.0 if none else score / 4 for score, none, _ in rows])
    refused, probability = np.array([float(none) for _, none, _ in rows]), np.array([p / 5 for *_, p in rows])

    def total(threshold: float) -> float:
        return float(np.where(probability > threshold, refused, answered).sum())

    everywhere = [total(threshold) for threshold in (-1, *np.unique(probability))]
    assert total(best_threshold(answered, refused, probability)) == pytest.approx(max(everywhere))


def test_a_threshold_knows_nothing_of_its_own_fold() -> None:
    answered, refused = np.array([1.0, 0, 1, 0]), np.array([0.0, 1, 0, 1])
    probability, folds = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 0, 1, 1])
    # fold 0 is scored under the threshold of fold 1, 0.7, and fold 1 under 0.3
    assert cross_fitted(answered, refused, probability, folds).tolist() == [1, 0, 0, 1]
    # if all is noise, the tuned threshold gains on its own questions, the cross-fitted one does not
    rng = np.random.default_rng(0)
    answered, refused = rng.random(400), np.full(400, 0.5)
    probability, folds = rng.random(400), np.arange(400) % 5
    tuned = np.where(probability > best_threshold(answered, refused, probability), refused, answered)
    assert tuned.mean() > cross_fitted(answered, refused, probability, folds).mean()


def test_quality_of_the_official_answers() -> None:
    given = scores(0, seeds=2, head=True)
    rows = quality_rows("m", {"p": given}, "p", SETTINGS)
    assert list(rows.columns) == QUALITY
    assert rows["reading"].tolist() == ["probe", "probe", "probe", "head"]
    assert rows["layer"].tolist() == [0, 1, 2, 2]
    first = rows.iloc[0]
    assert (first["questions"], first["articles"]) == (len(given.ids), 12)
    assert first["start_nll"] == pytest.approx(given.start_nll[[0, 3]].mean(), abs=1e-5)
    assert first["end_nll"] == pytest.approx(given.end_nll[[0, 3]].mean(), abs=1e-5)
    assert first["auprc"] > first["auprc_chance"] == pytest.approx(100 * given.answerable.mean(), abs=1e-4)


def test_without_a_question_of_a_kind_or_a_second_fold_figures_are_missing() -> None:
    given = scores(0, articles=1)
    given.paragraph[:] = 0
    given.answerable[:] = False
    given.start_nll[:] = np.nan
    row = quality_rows("m", {"p": given}, "p", SETTINGS).iloc[0]
    assert row[["start_nll", "auprc", "crossfit_f1"]].isna().all()


def test_folds_are_whole_articles() -> None:
    given = scores(0)
    folds = folds_of(given, 5)
    assert set(folds) == set(range(5))
    assert all(len(set(folds[given.article == article])) == 1 for article in range(12))
    few = folds_of(scores(0, articles=3), 5)
    assert len(set(few)) == 5  # by paragraph

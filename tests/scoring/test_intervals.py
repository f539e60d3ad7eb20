"""Intervals of curves and paired differences: estimates against the curve's points, pairing, seeds, what is refused."""

import numpy as np
import pandas as pd
import pytest

from stages.qa.errors import InputError
from stages.qa.readings import Reading, Readout
from stages.qa.scoring.curves import layer_rows
from stages.qa.scoring.intervals import (
    DIFFERENCES,
    FINETUNING,
    INTERVALS,
    METRICS,
    STEP,
    all_resampled,
    difference_rows,
    interval_rows,
    step_rows,
)
from stages.qa.scoring.question_scores import QuestionScores, score_questions
from stages.qa.sections import Statistics
from tests.scoring.test_curves import EXAMPLES, GIVEN

SETTINGS = Statistics(unit="auto", resamples=500, confidence=0.95, seed=0, folds=5, calibration_bins=10)


def scores(
    seed: int,
    *,
    layers: int = 3,
    seeds: int = 1,
    runs: int = 1,
    articles: int = 12,
    gain: float = 0.0,
    head: bool = False,
) -> QuestionScores:
    """Random scores; the questions of one `articles` are the same whatever the rest. Layer l is right in 30+10 l %."""
    rng = np.random.default_rng(articles)
    article = np.repeat(np.arange(articles), rng.integers(20, 40, articles)).astype(np.int32)
    paragraph = (3 * article + rng.integers(0, 3, len(article))).astype(np.int32)
    answerable, hard = rng.random(len(article)) < 0.6, rng.normal(0, 0.1, articles)[article]
    rng = np.random.default_rng(seed)
    readings = [Reading("probe", la, Readout("adamw", 3, 0.1, se)) for se in range(seeds) for la in range(layers)]
    readings += [Reading("head", layers - 1, None)] * head
    of_runs = [f"run {run}" for run in range(runs) for _ in readings]
    readings = readings * runs
    level = np.array([0.3 + 0.1 * reading.layer + gain for reading in readings])
    f1 = (rng.random((len(readings), len(article))) < level[:, None] + hard).astype(float)
    nothing = np.zeros((*f1.shape, 2), dtype=np.int32)
    forced = np.where(answerable, f1, 0.0)
    nll = rng.random(f1.shape)
    ids = [f"q{i}" for i in range(len(article))]
    null = np.clip(0.3 * (1 - answerable) + 0.7 * rng.random(f1.shape), 0, 1)
    return QuestionScores(
        readings, of_runs, ids, [ids] * len(f1), nothing, f1 > 0, null, f1, f1, forced, nll, nll + 1,
        answerable, article, paragraph,
    )  # fmt: skip


def of_f1(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["metric"] == "f1") & (rows["unit"] == "article")]


def test_estimates_are_the_points_of_the_curve() -> None:
    rows = interval_rows("m", all_resampled("m", {"p": score_questions(EXAMPLES, {"run": GIVEN})}, SETTINGS), "p")
    assert list(rows.columns) == INTERVALS
    assert rows["headline"].all()
    assert set(rows["unit"]) == {"paragraph"}
    assert set(rows["clusters"]) == {1}
    assert rows[["low", "high", "band_low", "band_high"]].isna().all(axis=None)  # one paragraph: no interval
    estimates = rows.set_index(["reading", "layer", "metric"])["estimate"]
    assert len(estimates) == 3 * len(METRICS)
    for _, point in layer_rows("m", EXAMPLES, {"p": {"run": GIVEN}}, "p").iterrows():
        for metric in METRICS:
            assert estimates[point["reading"], point["layer"], metric] == pytest.approx(point[metric], abs=1e-4)


def test_rows_name_unit_and_numbers() -> None:
    given = scores(0, head=True)
    rows = interval_rows("m", all_resampled("m", {"p": given}, SETTINGS), "other")
    assert not rows["headline"].any()
    assert len(rows) == 5 * (3 + 1)  # metrics, layers and head
    assert set(rows["clusters"]) == {12}
    few = scores(0, articles=7)
    paragraphs = interval_rows("m", all_resampled("m", {"p": few}, SETTINGS), "p")
    assert set(paragraphs["clusters"]) == {len(np.unique(few.paragraph))}
    assert (set(rows["unit"]), set(paragraphs["unit"])) == ({"article"}, {"paragraph"})
    answerable = given.answerable.sum()
    numbers = {"HasAns_f1": answerable, "forced_f1": answerable, "NoAns_f1": len(given.ids) - answerable}
    for metric, group in rows.groupby("metric"):
        assert set(group["questions"]) == {numbers.get(metric, len(given.ids))}
    assert (rows["band_low"] >= 0).all()
    assert (rows["band_low"] <= rows["low"]).all()
    assert (rows["low"] < rows["estimate"]).all()
    assert (rows["estimate"] < rows["high"]).all()
    assert (rows["high"] <= rows["band_high"]).all()
    assert (rows["band_high"] <= 100).all()


def test_draws_depend_on_the_seed_alone() -> None:
    given = {"p": scores(0)}
    rows = interval_rows("m", all_resampled("m", given, SETTINGS), "p")
    pd.testing.assert_frame_equal(rows, interval_rows("m", all_resampled("m", given, SETTINGS), "p"))
    other = interval_rows("m", all_resampled("m", given, SETTINGS.model_copy(update={"seed": 1})), "p")
    assert rows["estimate"].equals(other["estimate"])
    assert not rows["low"].equals(other["low"])


def test_several_seeds_are_averaged() -> None:
    given = scores(0, seeds=3)
    rows = of_f1(interval_rows("m", all_resampled("m", {"p": given}, SETTINGS), "p"))
    expected = [100 * given.f1[[layer, layer + 3, layer + 6]].mean() for layer in range(3)]
    assert rows["estimate"].tolist() == pytest.approx(expected, abs=1e-4)


def test_runs_are_averaged_and_counted_as_a_source_of_error() -> None:
    one, three = scores(0, seeds=2), scores(0, seeds=2, runs=3)
    rows = of_f1(interval_rows("m", all_resampled("m", {"p": three}, SETTINGS), "p"))
    expected = [100 * three.f1[layer::3].mean() for layer in range(3)]
    assert rows["estimate"].tolist() == pytest.approx(expected, abs=1e-4)
    assert set(rows["runs"]) == {3}
    for row, reading in enumerate(three.readings):
        three.f1[row] = one.f1[reading.layer]  # three runs that are one: nothing is added
    same = of_f1(interval_rows("m", all_resampled("m", {"p": three}, SETTINGS), "p"))
    three.f1[: 2 * 3] = 0  # one of them fails
    apart = of_f1(interval_rows("m", all_resampled("m", {"p": three}, SETTINGS), "p"))
    assert ((apart["high"] - apart["low"]) > 3 * (same["high"] - same["low"])).all()


def test_a_metric_without_questions_has_no_rows() -> None:
    given = scores(0)
    given.answerable[:] = True
    rows = interval_rows("m", all_resampled("m", {"p": given}, SETTINGS), "p")
    assert set(rows["metric"]) == METRICS.keys() - {"NoAns_f1"}


def test_steps_and_differences_are_paired() -> None:
    base, tuned = {"p": scores(0)}, {"p": scores(1, gain=0.3)}
    steps = of_f1(step_rows("tuned", all_resampled("tuned", tuned, SETTINGS), "p"))
    gains = of_f1(difference_rows("tuned", tuned, "base", base, "p", SETTINGS))
    assert list(steps.columns) == list(gains.columns) == DIFFERENCES
    assert (set(steps["comparison"]), set(steps["less"])) == ({STEP}, {"tuned"})
    assert (set(gains["comparison"]), set(gains["less"])) == ({FINETUNING}, {"base"})
    assert (steps["layer"].tolist(), gains["layer"].tolist()) == ([1, 2], [0, 1, 2])
    step = 100 * np.diff(tuned["p"].f1.mean(axis=1))
    gain = 100 * (tuned["p"].f1 - base["p"].f1).mean(axis=1)
    assert steps["estimate"].tolist() == pytest.approx(step, abs=1e-4)
    assert gains["estimate"].tolist() == pytest.approx(gain, abs=1e-4)
    assert (gains["band_low"] > 0).all()
    nothing = difference_rows("tuned", base, "base", base, "p", SETTINGS)
    assert (nothing["estimate"] == 0).all()
    assert (nothing["band_low"] < 0).all()
    assert nothing["band_high"].between(0.1, 8).all()  # unseen questions, not none


def test_a_base_with_fewer_layers_or_other_questions() -> None:
    model = {"p": scores(0)}
    rows = difference_rows("a", model, "b", {"p": scores(1, layers=2)}, "p", SETTINGS)
    assert set(rows["layer"]) == {0, 1}
    with pytest.raises(InputError, match="a and b answered different questions"):
        difference_rows("a", model, "b", {"p": scores(0, articles=13)}, "p", SETTINGS)

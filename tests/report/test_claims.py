"""The statements on curves worked out by hand, without resamples and with them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stages.qa.report import original as statements
from stages.qa.scoring.intervals import Interval, Resampled

Pair = tuple[float, float]  # HasAns and NoAns F1 of a layer
RISES, IS_FLAT, LOW, MIDDLE, HIGH = statements.STATEMENTS
SLOPE = [(0.0, 100.0), (5.0, 98.0), (40.0, 60.0), (50.0, 55.0), (60.0, 65.0), (75.0, 70.0)]  # down, then up
STEADY = [(20.0 * i, 100.0 - 5 * i) for i in range(6)]  # F1 60, 65 ... 85
FLATS = [(3.0 * i, 100.0 - 2 * i) for i in (0, 1, 2, 3, 2, 1)]  # F1 60 throughout


def curve(pairs: Sequence[Pair], error: float = 0.0) -> Resampled:
    """Layers 1, 2, ... with these scores, and F1 0.4 HasAns + 0.6 NoAns; layer 0 would refute every statement."""
    scores = np.array([(99.0, 1.0), *pairs]).T[:, None]  # HasAns or NoAns, the real one, layers
    if error:
        noise = np.random.default_rng(0).normal(0, error, (2, 10_000, scores.shape[2]))
        scores = np.concatenate([scores, scores + noise], axis=1)
    values = {"HasAns_f1": scores[0], "NoAns_f1": scores[1], "f1": 0.4 * scores[0] + 0.6 * scores[1]}
    return Resampled(list(range(len(pairs) + 1)), values, 0.95, dict.fromkeys(values, 10**6), 1000, "article", 1)


def judged(pairs: Sequence[Pair], statement: str, error: float = 0.0) -> statements.Claim:
    """The statement's claim on a curve: of the fine-tuned model, or of its base."""
    curves = {(model, "p"): curve(pairs, error) for model in ("tuned", "base")}
    found = statements.claims(curves, {"tuned": "base"})
    (claim,) = [claim for claim in found if claim.statement == statement]
    return claim


@pytest.mark.parametrize(
    ("statement", "pairs", "holds"),
    [
        (RISES, STEADY, True),
        (RISES, [(i * 2.0, 100.0) for i in range(6)], False),  # F1 4 points up: too little
        (RISES, [(0, 50.0), *[(60.0, 60.0)] * 4, (1, 50.0)], False),  # up, but not with depth
        (RISES, STEADY[::-1], False),
        (RISES, FLATS, False),
        (IS_FLAT, FLATS, True),
        (IS_FLAT, [(0.0, 100.0), (6.2, 100.0), (0.0, 100.0)], True),  # a range of 2.48
        (IS_FLAT, [(0.0, 100.0), (6.3, 100.0), (0.0, 100.0)], False),  # 2.52
        (LOW, SLOPE, True),
        (LOW, [(0.0, 100.0), (41.0, 98.0), *SLOPE[2:]], False),  # mean HasAns 20.5
        (LOW, [(0.0, 80.0), (5.0, 79.0), *SLOPE[2:]], False),  # mean NoAns 79.5
        (LOW, [(0.0, 81.0), (39.0, 79.5), *SLOPE[2:]], True),
        (MIDDLE, SLOPE, True),
        (MIDDLE, [*SLOPE[:2], (40.0, 99.0), (50.0, 99.0), *SLOPE[4:]], False),  # NoAns is not lost
        (MIDDLE, [*SLOPE[:2], (3.0, 60.0), (3.0, 60.0), *SLOPE[4:]], False),  # HasAns gains half a point
        (HIGH, SLOPE, True),
        (HIGH, [*SLOPE[:5], (75.0, 55.5)], False),  # NoAns gains half a point
        (HIGH, [*SLOPE[:5], (50.5, 70.0)], False),  # HasAns does
    ],
)
def test_every_statement_can_hold_and_fail_and_is_not_decided_under_noise(
    statement: str, pairs: Sequence[Pair], holds: bool
) -> None:
    verdict = "holds" if holds else "does not hold"
    claim = judged(pairs, statement)
    assert claim.verdict == verdict
    assert claim.model == ("base" if statement == IS_FLAT else "tuned")
    assert judged(pairs, statement, error=0.002).verdict == verdict
    assert judged(pairs, statement, error=40).verdict == "not decided"


def test_the_numbers_of_the_claims() -> None:
    # the line through 60, 60.8, 52, 53, 63, 72 rises by 5 * 33.8 / 17.5
    assert judged(SLOPE, RISES).numbers == "rise of F1 9.7"
    assert judged(SLOPE, IS_FLAT).numbers == "range of F1 20.0"
    assert judged(SLOPE, LOW).numbers == "NoAns F1 99.0; HasAns F1 2.5"
    assert judged(SLOPE, MIDDLE).numbers == "change of HasAns F1 42.5; change of NoAns F1 -41.5"
    assert judged(SLOPE, HIGH).numbers == "change of HasAns F1 25.0; change of NoAns F1 15.0"


def test_the_interval_is_of_the_quantity_claimed() -> None:
    """Of 2 layers' mean, the error is that of a layer by the root of 2; of a range, that of all pairs."""
    low, high = map(float, judged(SLOPE, LOW, error=1.0).numbers.split("(")[2][:-1].split(" to "))
    assert high - low == pytest.approx(2 * 1.96 / 2**0.5, abs=0.3)
    numbers = judged(FLATS, IS_FLAT, error=1.0).numbers
    # the largest of 15 standardised differences of 6 layers: Tukey's q(6, infinite) / root of 2 = 2.85; the error of F1
    # is the root of 0.4^2 + 0.6^2, of a difference the root of 2 of that
    assert float(numbers.split(" to ")[1][:-1]) == pytest.approx(2.85 * 2**0.5 * 0.52**0.5, abs=0.3)


@pytest.mark.parametrize(
    ("low", "high", "side", "verdict"),
    [
        (5.0, 6.0, "at_least", "holds"),
        (4.0, 4.9, "at_least", "does not hold"),
        (4.0, 6.0, "at_least", "not decided"),
        (4.0, 5.0, "at_most", "holds"),
        (5.1, 6.0, "at_most", "does not hold"),
        (4.0, 6.0, "at_most", "not decided"),
    ],
)
def test_three_verdicts(low: float, high: float, side: str, verdict: str) -> None:
    bounds: dict[str, Any] = {side: 5.0}
    condition = statements.Condition("", statements.span, "f1", **bounds)
    assert condition.verdict(Interval(5.0, low, high)) == verdict


@pytest.mark.parametrize(("lowest", "verdict"), [(98.0, "not decided"), (58.0, "does not hold")])
def test_a_statement_holds_if_all_its_conditions_do(lowest: float, verdict: str) -> None:
    """Of two conditions, that on HasAns F1 is not decided: it may lie on either side."""
    pairs = [(0.0, lowest), (5.0, lowest), *SLOPE[2:]]
    sure, unsure = curve(pairs, error=0.002), curve(pairs, error=40)
    mixed = replace(sure, values={**sure.values, "HasAns_f1": unsure.values["HasAns_f1"]})
    found = statements.claims({("tuned", "p"): mixed}, {"tuned": "base"})
    assert [claim.verdict for claim in found if claim.statement == LOW] == [verdict]


@pytest.mark.parametrize(
    ("layers", "middle"), [(3, [2]), (4, [2, 3]), (5, [3]), (6, [3, 4]), (12, [5, 6, 7, 8]), (24, list(range(9, 17)))]
)
def test_thirds(layers: int, middle: list[int]) -> None:
    shown = curve([(float(layer), 0.0) for layer in range(1, layers + 1)]).of_layers(1)
    assert statements.thirds(shown, "HasAns_f1")[1].tolist() == [middle]


def test_what_cannot_be_judged_is_left_out() -> None:
    without = curve(SLOPE)
    curves = {("tuned", "p"): curve(SLOPE), ("short", "p"): curve(SLOPE[:2]), ("tuned", "q"): without}
    del without.values["NoAns_f1"]  # type: ignore[attr-defined]
    found = statements.claims(curves, {"tuned": "base", "short": "tuned"})
    assert [(claim.statement, claim.model, claim.protocol) for claim in found] == [
        (statement, "tuned", "p") for statement in (RISES, IS_FLAT, LOW, MIDDLE, HIGH)
    ]  # tuned is also the base of short

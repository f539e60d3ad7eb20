"""Lineage, references, ladder and statements, on curves worked out by hand.

Every frame has 4 HasAns and 6 NoAns questions, so that F1 is 0.4 HasAns + 0.6 NoAns and the floor is 60.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from stages.qa.errors import InputError
from stages.qa.report import claims as statements
from stages.qa.report import findings
from tests.report.example import NAN, curves, gold_or_head, point

Pair = tuple[float, float]


def curve(model: str, pairs: Sequence[Pair], **changes: Any) -> list[dict[str, Any]]:
    """Layers 1, 2, ... with these HasAns and NoAns F1; layer 0 would refute every statement."""
    return [point(model, 0, 99, 1, **changes), *(point(model, i, *pair, **changes) for i, pair in enumerate(pairs, 1))]


TUNED = [
    point("tuned", 0, 10, 90),
    point("tuned", 1, 60, 70),
    point("tuned", 1, 40, 70, seed=2),
    point("tuned", 2, 50, 65),
    point("tuned", 2, 99, 99, epoch=1),  # better, but neither the last epoch
    point("tuned", 2, 99, 99, learning_rate=0.2),  # nor the first learning rate
    gold_or_head("head", "tuned", 2, 70, 80),
    gold_or_head("gold", "tuned", 2, 90, 100),
]
FRAME = curves(
    [
        *TUNED,
        *(point("base", layer, layer, 100 - layer) for layer in range(3)),
        *(point("noise", layer, 5 * layer, 90) for layer in range(3)),
        gold_or_head("head", "alone", 2, 80, 90),
        gold_or_head("gold", "alone", 2, 90, 100),
    ]
)


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
    assert family.seeds == {"noise": 3, "more": 4}


def test_references() -> None:
    table = findings.references(FRAME, {"tuned": "base"}, {"base": "noise"})
    rows = {(row.model, row.reference): (row.layer, row.exact, row.f1, row.HasAns_f1) for row in table.itertuples()}
    # the seeds' mean at layer 1: HasAns 50, NoAns 70; F1 20 + 42 = 62 beats layer 2's 59 and layer 0's 58
    expected = {
        'always "no answer"': (NAN, 60, 60, 0),
        "random encoder": (2, 56, 58, 10),
        "layer 0": (0, 56, 58, 10),
        "best layer": (1, 52, 62, 50),
        "last layer": (2, 49, 59, 50),
        "own head": (2, 62, 76, 70),
        "decode ceiling": (2, 78, 96, 90),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(rows.pop(("tuned", name)), values, err_msg=name)
    assert [name for model, name in rows if model == "base"] == list(expected)[:5]
    assert [name for model, name in rows if model == "noise"] == [list(expected)[i] for i in (0, 2, 3, 4)]
    assert [name for model, name in rows if model == "alone"] == [list(expected)[i] for i in (0, 5, 6)]


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
    table = findings.ladder(LADDER, ["p", "q", "r"]).set_index(["at", "step"])
    last = table.loc["last layer", ["HasAns_f1", "NoAns_f1", "f1", "forced_f1"]]
    assert last.to_numpy().tolist() == [[10, 20, 16, 10], [10, -10, -2, 10], [20, 10, 14, 20]]
    # best layers: p 0 (58), q 1 (78), r 1 (68)
    best = table.loc["best layer", ["HasAns_f1", "NoAns_f1", "f1", "forced_f1"]]
    assert best.to_numpy().tolist() == [[50, 0, 20, 50], [-10, -10, -10, -10], [40, -10, 10, 40]]
    assert list(table.index[:3]) == [("last layer", step) for step in ("p → q", "q → r", "total")]


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
    assert len(table) == 2 * 2 * 5
    for _, part in table.groupby(["model", "at"]):
        scores = part.set_index("step")[findings.STEP_SCORES]
        np.testing.assert_allclose(scores.drop("total").sum(), scores.loc["total"], atol=1e-9)


def test_a_ladder_needs_every_protocol_of_it() -> None:
    assert findings.ladder(LADDER, []).empty
    assert findings.ladder(LADDER, ["p"]).empty
    with pytest.raises(InputError, match="ladder: a has no scores under s; run the evaluate stage again"):
        findings.ladder(LADDER, ["p", "s"])


RISES, IS_FLAT, LOW, MIDDLE, HIGH = statements.STATEMENTS
SLOPE = [(0.0, 100.0), (5.0, 98.0), (40.0, 60.0), (50.0, 55.0), (60.0, 65.0), (75.0, 70.0)]  # down, then up
STEADY = [(20.0 * i, 100.0 - 5 * i) for i in range(6)]  # F1 60, 65 ... 85
FLATS = [(3.0 * i, 100.0 - 2 * i) for i in (0, 1, 2, 3, 2, 1)]  # F1 60 throughout


def judged(pairs: Sequence[Pair], statement: str) -> statements.Claim:
    """The statement's claim on a curve: of the fine-tuned model, or of its base."""
    frame = curves(curve("tuned", pairs) + curve("base", pairs))
    (claim,) = [claim for claim in statements.claims(frame, {"tuned": "base"}) if claim.statement == statement]
    return claim


@pytest.mark.parametrize(
    ("statement", "pairs", "holds"),
    [
        (RISES, STEADY, True),
        (RISES, [(i * 2.0, 100.0) for i in range(6)], False),  # F1 4 points up: too little
        (RISES, [(0, 50.0), *[(60.0, 60.0)] * 4, (60, 50.0)], False),  # up, but not with depth
        (RISES, SLOPE, False),  # as DistilBERT's: rank correlation 0.54
        (RISES, STEADY[::-1], False),
        (RISES, FLATS, False),
        (IS_FLAT, FLATS, True),
        (IS_FLAT, [(0.0, 100.0), (6.2, 100.0)], True),  # a range of 2.48
        (IS_FLAT, [(0.0, 100.0), (6.3, 100.0)], False),  # 2.52
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
def test_every_statement_can_hold_and_fail(statement: str, pairs: Sequence[Pair], holds: bool) -> None:
    claim = judged(pairs, statement)
    assert claim.holds is holds
    assert claim.verdict == ("holds" if holds else "does not hold")
    assert claim.model == ("base" if statement == IS_FLAT else "tuned")


def test_the_numbers_of_the_claims() -> None:
    assert judged(SLOPE, RISES).numbers == "F1 60.00 at layer 1, 72.00 at layer 6; rank correlation 0.54"
    flat = "F1 60.00 to 60.00; with an answer forced 5.00 to 14.00 (layer 4)"
    assert judged(FLATS, IS_FLAT).numbers == flat
    assert judged(SLOPE, LOW).numbers == "layers 1-2: HasAns F1 2.50, NoAns F1 99.00"
    assert judged(SLOPE, MIDDLE).numbers.endswith("; layers 3-4: HasAns F1 45.00, NoAns F1 57.50")
    assert judged(SLOPE, HIGH).numbers.startswith("layer 4: HasAns F1 50.00, NoAns F1 55.00; layer 6: HasAns")
    assert judged(FLATS, RISES).numbers.endswith("rank correlation 0.00")


@pytest.mark.parametrize("layers", [3, 7, 12])
def test_rank_correlation_is_spearmans(layers: int) -> None:
    random = np.random.default_rng(layers)
    pairs = [(float(has), 50.0) for has in random.integers(0, 8, layers)]  # with ties
    expected = spearmanr(range(layers), [has for has, _ in pairs]).statistic
    assert judged(pairs, RISES).numbers.endswith(f"rank correlation {expected:.2f}")


@pytest.mark.parametrize(
    ("layers", "middle"),
    [(3, "layer 2"), (4, "layers 2-3"), (5, "layer 3"), (6, "layers 3-4"), (12, "layers 5-8"), (24, "layers 9-16")],
)
def test_thirds(layers: int, middle: str) -> None:
    assert f"; {middle}: " in judged([(1.0, 1.0)] * layers, MIDDLE).numbers


def test_what_cannot_be_judged_says_why() -> None:
    other = curve("tuned", SLOPE, protocol="q", headline=False)
    frame = curves([*curve("tuned", SLOPE), *other, *curve("short", SLOPE[:2])])
    found = statements.claims(frame, {"tuned": "base", "again": "base", "short": "tuned"})
    assert len(found) == 2 * (4 * 3 + 2)  # protocols; statements on three models, one on two bases
    why = {(claim.model, claim.protocol): (claim.verdict, claim.numbers) for claim in found if claim.holds is None}
    assert why == {
        ("again", "paper"): ("not run", "not probed"),
        ("again", "q"): ("not run", "not probed"),
        ("base", "paper"): ("not run", "not probed"),
        ("base", "q"): ("not run", "not probed"),
        ("short", "paper"): ("not run", "fewer than three layers"),
        ("short", "q"): ("not run", "not probed"),
    }
    one_kind = frame.assign(NoAns_f1=NAN)
    assert {claim.holds for claim in statements.claims(one_kind, {"tuned": "base"})} == {None}


def test_claims_are_of_the_last_epoch_first_rate_and_the_seeds_mean() -> None:
    rows = [
        *curve("tuned", STEADY),
        *curve("tuned", [(has + 2, no) for has, no in STEADY], seed=2),
        *curve("tuned", FLATS, epoch=1),
        *curve("tuned", FLATS, learning_rate=0.2),
    ]
    claim = statements.claims(curves(rows), {"tuned": "base"})[0]
    assert claim.numbers == "F1 60.40 at layer 1, 85.40 at layer 6; rank correlation 1.00"

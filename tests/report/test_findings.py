"""References, ladder, statements, pages and the ladder's figure, on curves worked out by hand.

Every frame has 4 HasAns and 6 NoAns questions, so that F1 is 0.4 HasAns + 0.6 NoAns and the floor is 60.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from stages.qa.report.ladder_figure import ladder_panels

from stages.qa.config import Encoder
from stages.qa.errors import InputError
from stages.qa.report import claims as statements
from stages.qa.report import findings, pages, tables

NAN = float("nan")
Pair = tuple[float, float]


def point(model: str, layer: int, has: float, no: float, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(tables.KEYS + tables.SCORES, NAN)
    row |= {"model": model, "protocol": "paper", "reading": "probe", "epoch": 2, "layer": layer}
    row |= {"learning_rate": 0.1, "seed": 1, "total": 10, "HasAns_total": 4, "NoAns_total": 6}
    row |= {"HasAns_f1": has, "HasAns_exact": has / 2, "NoAns_f1": no, "NoAns_exact": no}
    row |= {"f1": (4 * has + 6 * no) / 10, "exact": (2 * has + 6 * no) / 10, "forced_f1": has + 5, "forced_exact": has}
    return row | changes


def other(reading: str, model: str, layer: int, has: float, no: float, **changes: Any) -> dict[str, Any]:
    return point(model, layer, has, no, reading=reading, epoch=NAN, learning_rate=NAN, seed=NAN, **changes)


def curve(model: str, pairs: Sequence[Pair], **changes: Any) -> list[dict[str, Any]]:
    """Layers 1, 2, ... with these HasAns and NoAns F1; layer 0 would refute every statement."""
    return [point(model, 0, 99, 1, **changes), *(point(model, i, *pair, **changes) for i, pair in enumerate(pairs, 1))]


ENCODER = {"sources": ["path:m"], "sha256": {}, "weights": "pretrained", "seed": None}
PRETRAINED, RANDOM = Encoder(**ENCODER), Encoder(**ENCODER | {"weights": "random", "seed": 0})
ELSEWHERE = Encoder(**ENCODER | {"sources": ["path:n"], "weights": "random", "seed": 0})

TUNED = [
    point("tuned", 0, 10, 90),
    point("tuned", 1, 60, 70),
    point("tuned", 1, 40, 70, seed=2),
    point("tuned", 2, 50, 65),
    point("tuned", 2, 99, 99, epoch=1),  # better, but neither the last epoch
    point("tuned", 2, 99, 99, learning_rate=0.2),  # nor the first learning rate
    other("head", "tuned", 2, 70, 80),
    other("gold", "tuned", 2, 90, 100),
]
FRAME = pd.DataFrame(
    [
        *TUNED,
        *(point("base", layer, layer, 100 - layer) for layer in range(3)),
        *(point("noise", layer, 5 * layer, 90) for layer in range(3)),
        other("head", "alone", 2, 80, 90),
        other("gold", "alone", 2, 90, 100),
    ]
).astype({"layer": int})


def test_pretrained_bases() -> None:
    models = ["twmkn9--bert-base-uncased-squad2", "tuned", "ahotrod--albert_xxlargev1_squad2_512", "bert-base-uncased"]
    assert findings.pretrained_bases(models, {"tuned": "base", "again": "tuned"}) == {
        "tuned": "base",
        "again": "base",
        "twmkn9--bert-base-uncased-squad2": "bert-base-uncased",
    }
    assert findings.pretrained_bases([], {"more": models[0]}) == {"more": models[0]}  # not probed, not in models


def test_random_twins_have_the_same_sources() -> None:
    encoders = {"elsewhere": ELSEWHERE, "noise": RANDOM, "base": PRETRAINED, "more": RANDOM}
    assert findings.random_twins(encoders) == {"base": "noise"}
    assert findings.random_twins({"base": PRETRAINED, "elsewhere": ELSEWHERE}) == {}


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


def test_a_references_page_row() -> None:
    table = pages.reference_table(findings.references(FRAME, {"tuned": "base"}, {"base": "noise"}))
    cells = [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]]
    assert cells[0] == "tuned"
    assert cells[2:5] == ["56.00 / 58.00 / 10.00 (2)", "56.00 / 58.00 / 10.00", "52.00 / 62.00 / 50.00 (1)"]
    alone = [cell.strip() for cell in table.splitlines()[5].split("|")[1:-1]]
    assert alone[2:6] == ["-"] * 4
    assert alone[6] == "70.00 / 86.00 / 80.00"


LADDER = pd.DataFrame(
    [
        *(point("a", layer, has, 100 - has, protocol="p") for layer, has in enumerate((10, 20, 30))),
        *(point("a", layer, has, 90, protocol="q") for layer, has in enumerate((10, 60, 40))),
        *(point("a", layer, has, 80, protocol="r") for layer, has in enumerate((10, 50, 50))),
        *(point("a", layer, 0, 0, protocol="not a step") for layer in range(3)),
        other("head", "a", 2, 99, 99, protocol="p"),
    ]
).astype({"layer": int})


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
    table = findings.ladder(pd.DataFrame(rows), names)
    assert len(table) == 2 * 2 * 5
    for _, part in table.groupby(["model", "at"]):
        scores = part.set_index("step")[findings.STEP_SCORES]
        np.testing.assert_allclose(scores.drop("total").sum(), scores.loc["total"], atol=1e-9)


def test_a_ladder_needs_every_protocol_of_it() -> None:
    assert findings.ladder(LADDER, []).empty
    assert findings.ladder(LADDER, ["p"]).empty
    with pytest.raises(InputError, match="ladder: a has no scores under s; run the evaluate stage again"):
        findings.ladder(LADDER, ["p", "s"])


def test_ladder_table() -> None:
    lines = pages.ladder_table(findings.ladder(LADDER, ["p", "q", "r"])).splitlines()
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells == ["a", "q → r", "-2.00", "+10.00", "-10.00", "+10.00", "-10.00", "-10.00", "-10.00", "-10.00"]


def test_ladder_figure_has_a_row_per_model_and_a_curve_per_step() -> None:
    frame = pd.concat([LADDER, LADDER.assign(model="b", HasAns_f1=7.0)], ignore_index=True)
    figure = ladder_panels(frame, ["r", "p"])
    assert [axes.get_title(loc="left") for axes in figure.axes[::4]] == ["a\nall", "b\nall"]
    panel = figure.axes[1]
    curves = {line.get_label(): list(line.get_ydata()) for line in panel.lines if line.get_label() in "pqr"}
    assert curves == {"r": [10, 50, 50], "p": [10, 20, 30]}
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["r", "p"]
    assert "by protocol" in figure.get_suptitle()
    assert ladder_panels(LADDER, ["p", "q"]).axes[3].get_title(loc="left") == "a\nHasAns, answer forced"


RISES, IS_FLAT, LOW, MIDDLE, HIGH = statements.STATEMENTS
SLOPE = [(0.0, 100.0), (5.0, 98.0), (40.0, 60.0), (50.0, 55.0), (60.0, 65.0), (75.0, 70.0)]  # down, then up
STEADY = [(20.0 * i, 100.0 - 5 * i) for i in range(6)]  # F1 60, 65 ... 85
FLATS = [(3.0 * i, 100.0 - 2 * i) for i in (0, 1, 2, 3, 2, 1)]  # F1 60 throughout


def judged(pairs: Sequence[Pair], statement: str) -> statements.Claim:
    """The statement's claim on a curve: of the fine-tuned model, or of its base."""
    frame = pd.DataFrame(curve("tuned", pairs) + curve("base", pairs))
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
    frame = pd.DataFrame(curve("tuned", SLOPE) + curve("tuned", SLOPE, protocol="q") + curve("short", SLOPE[:2]))
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
    claim = statements.claims(pd.DataFrame(rows), {"tuned": "base"})[0]
    assert claim.numbers == "F1 60.40 at layer 1, 85.40 at layer 6; rank correlation 1.00"


def question_rows(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame([(*row, 0.5) for row in rows], columns=tables.QUESTION)


QUESTION = question_rows(
    ("a", "p", "probe", 1, 0, "earlier epoch"),
    ("a", "p", "probe", 2, 0, ""),
    ("a", "p", "probe", 2, 0, "another seed"),
    ("a", "p", "probe", 2, 10, "six | seven"),
    ("a", "p", "probe", 2, 2, "<b>two</b>"),
    ("a", "p", "head", NAN, 10, "of the head"),
    ("a", "p", "gold", NAN, 10, "truth"),
    ("a", "q", "probe", NAN, 0, "other protocol"),
    ("b", "p", "probe", 1, 0, "b's last epoch is 1"),
    ("h", "p", "head", NAN, 4, "alone"),
)
TABLE = r"""
| layer              | a                        | b                   | h     |
| ------------------ | ------------------------ | ------------------- | ----- |
| 0                  | *no answer*              | b's last epoch is 1 | -     |
| 2                  | &lt;b&gt;two&lt;/b&gt;   | -                   | -     |
| 10                 | six \| seven             | -                   | -     |
| own head           | of the head              | -                   | alone |
| true span, decoded | truth                    | -                   | -     |
"""


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.replace(r"\|", "¦").split("|")] for line in table.strip().splitlines()]


def test_question_table() -> None:
    found, expected = cells(pages.question_table(QUESTION, "p")), cells(TABLE)
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]
    assert [row[1:-1] for row in cells(pages.question_table(QUESTION, "q"))][2:] == [["0", "other protocol"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("back\\|slash", r"back\\\|slash"),
        ("two\nlines\r\nand\u2028more\ttabs", "two lines and more tabs"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("*bold* _it_ `code` ~~gone~~ $x$", r"\*bold\* \_it\_ \`code\` \~\~gone\~\~ \$x\$"),
        ("![i](https://x.y)", r"!\[i\](https\://x.y)"),
        ("WWW.x.org", r"WWW\.x.org"),
        ("\u202eright\x00\u200b", "\ufffdright\ufffd\ufffd"),
        ("in 1,861.5 — “naïve” 東京", "in 1,861.5 — “naïve” 東京"),
    ],
)
def test_inert(text: str, expected: str) -> None:
    assert pages.inert(text) == expected


def test_findings_page_has_a_ladder_and_a_question_only_if_the_study_has() -> None:
    references = findings.references(FRAME, {}, {})
    claims = statements.claims(FRAME, {"tuned": "base"})
    none = findings.ladder(FRAME, [])
    page = pages.findings_page(references, none, claims, QUESTION[:0], None)
    assert "## Ladder" not in page
    assert "## Answers" not in page
    assert page.count("\n### ") == 2  # references and statements under the one protocol
    assert all(name in page for name in statements.STATEMENTS)
    steps = findings.ladder(LADDER, ["p", "q"])
    page = pages.findings_page(references, steps, claims, QUESTION.replace({"p": "paper"}), "id|5")
    assert "## Ladder" in page
    assert "p → q" in page
    assert r"## Answers to the question id\|5" in page


def test_question_files_are_read(tmp_path: Path) -> None:
    QUESTION[QUESTION["model"] == "a"].assign(answer=["null", "", *"cdefgh"]).to_csv(tmp_path / "a.csv", index=False)
    QUESTION[:0].to_csv(tmp_path / "b.csv", index=False)
    frame = tables.read_question(tmp_path, ["b", "a"])
    assert list(frame["answer"]) == ["null", "", *"cdefgh"]
    assert frame["layer"].dtype == int
    assert tables.read_question(tmp_path, ["b"]).empty
    with pytest.raises(InputError, match=r"c\.csv: no such file; has the evaluate stage run for c\?"):
        tables.read_question(tmp_path, ["a", "c"])
    QUESTION[:1].assign(layer=NAN).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"a\.csv: protocol, reading or layer is empty in a row"):
        tables.read_question(tmp_path, ["a"])


def test_models_read_by_their_head_alone_are_in_the_tables(tmp_path: Path) -> None:
    for model, rows in FRAME.groupby("model"):
        rows.to_csv(tmp_path / f"{model}.csv", index=False)
    with pytest.raises(InputError, match=r"alone\.csv: no row with reading 'probe'"):
        tables.read_layers(tmp_path, ["tuned", "alone"])
    frame = tables.read_layers(tmp_path, ["tuned"], ["alone"])
    lines = tables.result_table(frame).splitlines()
    assert [line.split()[1] for line in lines[2:4]] == ["tuned", "alone"]
    assert [cell.strip() for cell in lines[3].split("|")[2:-1]] == ["-"] * 12 + ["86.00"]

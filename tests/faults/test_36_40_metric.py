"""Cases 36 to 40: prediction files and the metric."""

import json
import random
import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from stages.qa.data.squad import Answer, Example
from stages.qa.files import write_json
from stages.qa.metric import official_metrics, question_scores
from tests.data.test_squad import valid
from tests.faults.study import Study
from tests.test_metric import GOLDEN, printed

GOOD = {"q1": "Oaks", "q2": "", "q3": "Finland"}
WORDS = [
    "the",
    "a",
    "An",
    "dog",
    "Dog's",
    "ＦＵＬＬ",
    "cafe\u0301",
    "café",
    "3.5",
    "-",
    "\u200b",
    "سلام",
    "\U0001f600",
    "",
    " ",
]


def scored(study: Study, content: Any, *options: str) -> list[str]:
    """The scoring command on the valid file of three questions, which already wrote its output once."""
    path = study.root / "predictions.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return ["qa.metric", str(study.squad(valid())), "predictions.json", "--out-file", "out.json", *options]


def test_case_36_missing_predictions(study: Study) -> None:
    """One or all predictions missing: how many, and the first ids; never a smaller denominator."""
    study.well(*scored(study, GOOD))
    study.refused(2, ["no text for 1 of 3 questions: 'q2'"], *scored(study, {"q1": "", "q3": ""}))
    study.refused(2, ["no text for 3 of 3 questions: 'q1', 'q2', 'q3'"], *scored(study, {}))


def test_case_37_other_predictions(study: Study) -> None:
    """An unknown id; null, a number, a list for a text; files cut off or of another kind."""
    for value in None, 3, 1.5, True, ["dog"], {"text": "dog"}:
        study.refused(2, ["not a text for 1 of 3 ids: 'q3'"], *scored(study, GOOD | {"q3": value}))
    study.refused(2, ["1 ids that the data do not have: 'other'"], *scored(study, GOOD | {"other": ""}))
    for content, says in (b'{"q1": "Oa', "truncated"), (b"[]", "a list"), (b"", "empty"), (b"\x1f\x8b\x08", "gzip"):
        study.refused(2, ["predictions.json", says], *scored(study, content))


def test_case_37_damaged_predictions_of_the_pipeline(done: Study) -> None:
    """What predict wrote, damaged: integrity."""
    for name in "answers.json", "answers.safetensors":
        path = done.root / "data/predictions/tiny/tiny/standard" / name
        content = path.read_bytes()
        for damaged in content[: len(content) // 2], b"{}", b"[1]", b"":
            path.write_bytes(damaged)
            done.refused(
                3, ["data/predictions/tiny/tiny/standard", "run the stage that writes it again"], *done.evaluate()
            )
        path.write_bytes(content)


# The official algorithm in other words: evaluate-v2.0.py of Rajpurkar, Jia and Liang, question by question


def plain(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def pair_f1(gold: str, given: str) -> float:
    a, b = plain(gold), plain(given)
    if not a or not b:
        return float(a == b)
    same = sum((Counter(a) & Counter(b)).values())
    return 0.0 if not same else (2 * (same / len(b)) * (same / len(a))) / (same / len(b) + same / len(a))


def expected(golds: list[str], given: str) -> tuple[float, float]:
    golds = [gold for gold in golds if plain(gold)] or [""]
    return max(float(plain(g) == plain(given)) for g in golds), max(pair_f1(g, given) for g in golds)


def test_case_38_random_sets(tell: Callable[[str], None]) -> None:
    """1,000 random sets of golds and predictions, and the official script's printouts: equal to the last digit."""
    draw = random.Random(0)
    for _ in range(1000):
        golds = [[" ".join(draw.choices(WORDS, k=draw.randint(0, 4))) for _ in range(draw.randint(0, 3))] for _ in "ab"]
        examples = [
            Example(str(i), "q", "c", tuple(Answer(g, 0) for g in some), not some, 0, 0, "")
            for i, some in enumerate(golds)
        ]
        given = {e.id: " ".join(draw.choices(WORDS, k=draw.randint(0, 4))) for e in examples}
        scores = question_scores(examples, given)
        for row, example in enumerate(examples):
            assert (scores.exact[row], scores.f1[row]) == expected(golds[row], given[example.id])
        pairs = [expected(golds[row], given[e.id]) for row, e in enumerate(examples)]
        metrics = official_metrics(examples, given)
        assert metrics["exact"] == 100.0 * sum(p[0] for p in pairs) / 2
        assert metrics["f1"] == 100.0 * sum(p[1] for p in pairs) / 2
    tell(f"1,000 random sets equal an oracle, {len(GOLDEN)} data sets the official printouts (tests/test_metric.py)")


def test_case_38_official_printout(study: Study) -> None:
    """The official script's printout on its own data."""
    case = next(case for case in GOLDEN if case["name"] == "05_plain")
    for name, key in ("predictions", "predictions"), ("na", "na_probs"):
        (study.root / f"{name}.json").write_text(json.dumps(case[key]))
    done = study.well("qa.metric", study.squad(case["dataset"]), "predictions.json", "-n", "na.json", "-t", "0.5")
    assert done.out == printed(case["official"]["with_na_prob_thresh_0.5"]) + "\n"


def test_case_39_null_scores(study: Study) -> None:
    """A probability of no answer that is NaN, infinite, missing, a string; a threshold that is NaN."""
    command = scored(study, GOOD, "-n", "na.json")
    study.well(*scored(study, GOOD))
    for content, says in (
        (b'{"q1": NaN, "q2": 0, "q3": 0}', "not a number for 1 of 3 ids: 'q1'"),
        (b'{"q1": 0, "q2": Infinity, "q3": 0}', "'q2'"),
        (b'{"q1": 0, "q2": 1e999, "q3": 0}', "'q2'"),
        (b'{"q1": 0, "q2": "0.5", "q3": 0}', "'q2'"),
        (b'{"q1": 0, "q2": 0}', "no number for 1 of 3 questions: 'q3'"),
    ):
        (study.root / "na.json").write_bytes(content)
        study.refused(2, ["na.json", says], *command)
    study.refused(2, ["na_prob_thresh is NaN"], *scored(study, GOOD, "-t", "nan"))


def test_case_40_no_nan_in_metrics(done: Study, tell: Callable[[str], None]) -> None:
    """Every number of every metrics file is finite, and the writer refuses others."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    files = [*done.root.glob("metrics/**/*.json"), *done.root.glob("data/predictions/**/*.json")]
    for path in files:
        json.loads(path.read_text(), parse_constant=refuse)
    tables = [*done.root.glob("metrics/**/*.csv")]
    assert files
    assert tables
    assert not any(re.search(r"\b(nan|inf)\b", path.read_text(), re.IGNORECASE) for path in tables)
    for value in float("nan"), float("inf"), -float("inf"):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(done.root / "x.json", {"f1": value})
    assert not list(done.root.glob("*x.json*"))
    tell(f"{len(files)} JSON and {len(tables)} CSV files without one; the writer refuses NaN and infinity")

"""The official metric: equal to figures of the official script, to brute force, and to cases worked by hand.

"case-NN" in a test's name is the number in the project's list of faults. All golden data sets, the odd ones too, pass
through the strict reader.
"""

import gzip
import json
import math
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.qa.cli import run
from stages.qa.data.squad import Answer, Example, read_squad
from stages.qa.errors import InputError
from stages.qa.metric import main, normalise, official_metrics, question_scores

ROOT = Path(__file__).parents[1]
GOLDEN: list[dict[str, Any]] = json.loads(
    gzip.decompress((Path(__file__).parent / "golden" / "squad2_official_scores.json.gz").read_bytes())
)


def example(id_: str, *golds: str, hidden: bool = False) -> Example:
    answers = tuple(Answer(gold, 0) for gold in golds)
    return Example(id_, "question", "context", answers, None if hidden else not golds, article=0, paragraph=0, title="")


def score(golds: tuple[str, ...], prediction: str) -> tuple[float, float]:
    scores = question_scores([example("q", *golds)], {"q": prediction})
    return float(scores.exact[0]), float(scores.f1[0])


def printed(metrics: Mapping[str, float]) -> str:
    """As the official script prints: order of keys, kind of number, and every digit."""
    return json.dumps(metrics, indent=2)


# The official script's own figures


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in GOLDEN])
def test_case_38_equal_to_the_official_script_to_the_last_digit(tmp_path: Path, case: dict[str, Any]) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(case["dataset"]))
    examples = read_squad(path, purpose="score")
    predictions, na_probs, official = case["predictions"], case["na_probs"], case["official"]
    assert printed(official_metrics(examples, predictions)) == printed(official["without_na_prob"])
    assert printed(official_metrics(examples, predictions, na_probs)) == printed(official["with_na_prob"])
    assert printed(official_metrics(examples, predictions, na_probs, 0.5)) == printed(
        official["with_na_prob_thresh_0.5"]
    )


def test_question_scores_add_up_to_the_official_figures(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for case in GOLDEN:
        path.write_text(json.dumps(case["dataset"]))
        scores = question_scores(read_squad(path, purpose="score"), case["predictions"])
        official = case["official"]["without_na_prob"]
        assert scores.exact.dtype == scores.f1.dtype == np.float64
        assert scores.exact.shape == scores.f1.shape == (official["total"],)
        assert 100 * scores.exact.mean() == pytest.approx(official["exact"], rel=1e-13)
        assert 100 * scores.f1.mean() == pytest.approx(official["f1"], rel=1e-13)


# Worked by hand


def test_normalise_in_the_order_of_the_official_script() -> None:
    assert normalise("The  U.S.A.'s\tAn-them\u00a0a!") == "usas anthem"
    assert normalise("a.n") == ""  # punctuation goes first and joins "an"
    assert normalise("the-end") == "theend"
    assert normalise("Ａ – “the”") == "ａ – “ ”"  # only ASCII punctuation goes; full width stays
    assert normalise("e\u0301") != normalise("\u00e9")  # no Unicode normalisation
    assert normalise("İ") == "i\u0307"


@pytest.mark.parametrize(
    ("golds", "prediction", "exact", "f1"),
    [
        (("the cat sat",), "Cat sat!", 1, 1),
        (("the cat sat",), "cat sat down", 0, 0.8),  # precision 2/3, recall 2/2
        (("b b c",), "b b b", 0, 2 / 3),  # two of three b are common
        (("sat cat",), "cat sat", 0, 1),
        (("dog",), "cat", 0, 0),
        (("dog", "cat sat", "cat"), "cat", 1, 1),
        (("dog", "cat sat"), "cat", 0, 2 / 3),
        (("dog",), "", 0, 0),
        (("dog",), "the", 0, 0),
        ((), "", 1, 1),
        ((), "the -", 1, 1),  # normalises to nothing, which is right here
        ((), "dog", 0, 0),
        (("the", "-"), "", 1, 1),  # no gold is left: no answer is right
        (("the", "-"), "dog", 0, 0),
        (("the", "dog"), "", 0, 0),  # one gold is left
    ],
)
def test_scores_worked_by_hand(golds: tuple[str, ...], prediction: str, exact: float, f1: float) -> None:
    assert score(golds, prediction) == pytest.approx((exact, f1), abs=1e-15)


TWO = [example("yes", "dog"), example("no")]


def test_a_question_whose_golds_normalise_to_nothing_has_an_answer_still() -> None:
    metrics = official_metrics([example("q", "-")], {"q": ""})
    assert metrics == {"exact": 100, "f1": 100, "total": 1, "HasAns_exact": 100, "HasAns_f1": 100, "HasAns_total": 1}


def test_best_threshold_worked_by_hand() -> None:
    examples = [example("a", "dog"), example("b"), example("c", "cat sat"), example("d"), example("e", "x")]
    answers = {"a": "dog", "b": "dog", "c": "cat", "d": "", "e": "x"}
    na_probs = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.2}
    metrics = official_metrics(examples, answers, na_probs)
    # start with 2 (b and d unanswered); a: +1; b: -1; e: +1; c: +0 exact, +2/3 f1; d: 0
    assert (metrics["best_exact"], metrics["best_exact_thresh"]) == (60, 0.1)
    assert metrics["best_f1"] == pytest.approx(100 * (3 + 2 / 3) / 5)
    assert metrics["best_f1_thresh"] == 0.3


def test_equal_null_scores_are_taken_in_the_order_of_na_probs() -> None:
    answers = {"yes": "dog", "no": "dog"}
    assert official_metrics(TWO, answers, {"yes": 0.5, "no": 0.5})["best_exact"] == 100
    assert official_metrics(TWO, answers, {"no": 0.5, "yes": 0.5})["best_exact"] == 50


def test_best_threshold_looks_at_the_answer_as_written() -> None:
    """A "." on an impossible question is exact, yet from its null score on the script counts it as answered."""
    metrics = official_metrics(TWO, {"yes": "dog", "no": "."}, {"no": 0.1, "yes": 0.2})
    assert (metrics["exact"], metrics["best_exact"], metrics["best_exact_thresh"]) == (100, 50, 0.0)


def test_best_threshold_of_answering_nothing_is_zero_even_among_negative_null_scores() -> None:
    metrics = official_metrics(TWO, {"yes": "cat", "no": "dog"}, {"no": -2.0, "yes": -1.0})
    assert (metrics["best_exact"], metrics["best_exact_thresh"]) == (50, 0.0)


def test_the_threshold_is_exclusive_and_without_null_scores_all_are_zero() -> None:
    answers = {"yes": "dog", "no": "dog"}
    null = {"yes": 0.5, "no": 0.5}
    assert official_metrics(TWO, answers, null, 0.5)["exact"] == 50
    assert official_metrics(TWO, answers, null, 0.49)["NoAns_exact"] == 100
    assert official_metrics(TWO, answers, na_prob_thresh=0.0)["HasAns_exact"] == 100
    assert official_metrics(TWO, answers, na_prob_thresh=-0.1)["HasAns_exact"] == 0
    assert official_metrics(TWO, answers, null, math.inf)["exact"] == 50


def test_case_21_an_absent_group_has_no_keys() -> None:
    assert list(official_metrics(TWO[:1], {"yes": "dog"})) == [
        *("exact", "f1", "total"),
        *("HasAns_exact", "HasAns_f1", "HasAns_total"),
    ]
    assert not any(key.startswith("HasAns") for key in official_metrics(TWO[1:], {"no": ""}))


# Brute force


def random_study(seed: int) -> tuple[list[Example], dict[str, str], dict[str, float]]:
    """Sixty questions with distinct null scores; no answer normalises to nothing but the empty one."""
    random_ = random.Random(seed)
    texts = ["dog", "black dog", "the cat", "cat sat", "Cat. sat, down", "x y z x", "été"]
    examples = [example(f"q{n}", *random_.sample(texts, random_.choice([0, 0, 1, 3]))) for n in range(60)]
    answers = {e.id: random_.choice([*texts, "", ""]) for e in examples}
    na_probs = {e.id: value for e, value in zip(examples, random_.sample(range(1, 1000), 60), strict=True)}
    return examples, answers, {id_: value / 1000 for id_, value in na_probs.items()}


@pytest.mark.parametrize("seed", range(10))
def test_best_scores_are_the_best_over_all_thresholds(seed: int) -> None:
    examples, answers, na_probs = random_study(seed)
    metrics = official_metrics(examples, answers, na_probs)
    tried = [official_metrics(examples, answers, na_probs, t) for t in (0.0, *na_probs.values())]
    for name in "exact", "f1":
        assert metrics[f"best_{name}"] == pytest.approx(max(m[name] for m in tried), rel=1e-13)
        at = official_metrics(examples, answers, na_probs, metrics[f"best_{name}_thresh"])
        assert at[name] == pytest.approx(metrics[f"best_{name}"], rel=1e-13)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_answers_and_of_earlier_calls_is_of_no_account(seed: int) -> None:
    examples, answers, na_probs = random_study(seed)
    expected = printed(official_metrics(examples, answers, na_probs, 0.5))
    shuffled = dict(random.Random(seed).sample(list(answers.items()), len(answers)))
    assert printed(official_metrics(examples, shuffled, na_probs, 0.5)) == expected
    other = question_scores(examples, dict.fromkeys(answers, "dog"))
    other.exact[:] = other.f1[:] = 7
    assert printed(official_metrics(examples, answers, na_probs, 0.5)) == expected


# What is refused


@pytest.mark.parametrize("missing", [["q7"], [f"q{n}" for n in range(60)]], ids=["one", "all"])
def test_case_36_a_missing_prediction_never_shrinks_the_total(missing: list[str]) -> None:
    examples, answers, na_probs = random_study(0)
    kept = {id_: text for id_, text in answers.items() if id_ not in missing}
    with pytest.raises(InputError) as caught:
        question_scores(examples, kept)
    message = str(caught.value)
    assert f"no text for {len(missing)} of 60 questions" in message
    assert all(repr(id_) in message for id_ in missing[:5])
    assert "'q5'" not in message
    with pytest.raises(InputError, match="na_probs: no number for 1 of 60 questions: 'q7'"):
        official_metrics(examples, answers, {id_: p for id_, p in na_probs.items() if id_ != "q7"})


@pytest.mark.parametrize("value", [None, 3, 1.5, True, ["dog"], {"text": "dog"}, b"dog"])
def test_case_37_an_answer_that_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="answers: not a text for 1 of 2 ids: 'no'"):
        question_scores(TWO, {"yes": "dog", "no": value})


def test_case_37_an_unknown_id_is_refused() -> None:
    with pytest.raises(InputError, match="answers: 1 ids that the data do not have: 'other'"):
        official_metrics(TWO, {"yes": "dog", "no": "", "other": ""})
    with pytest.raises(InputError, match="na_probs: 1 ids that the data do not have: 'other'"):
        official_metrics(TWO, {"yes": "dog", "no": ""}, {"yes": 0, "no": 0, "other": 0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "0.5", None, True, [0.5]])
def test_case_39_a_null_score_that_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="na_probs: not a number for 1 of 2 ids: 'no'"):
        official_metrics(TWO, {"yes": "dog", "no": ""}, {"yes": 0.1, "no": value})


def test_a_nan_threshold_no_question_and_hidden_labels_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        official_metrics(TWO, {"yes": "dog", "no": ""}, na_prob_thresh=math.nan)
    with pytest.raises(InputError, match="no questions"):
        official_metrics([], {})
    with pytest.raises(InputError, match="labels are hidden"):
        question_scores([example("q", hidden=True)], {"q": ""})


# The command


def files(folder: Path, case: dict[str, Any]) -> list[str]:
    for name, key in ("data", "dataset"), ("predictions", "predictions"), ("na", "na_probs"):
        (folder / f"{name}.json").write_text(json.dumps(case[key]))
    return [str(folder / f"{name}.json") for name in ("data", "predictions", "na")]


def test_the_command_prints_what_the_official_script_prints(tmp_path: Path) -> None:
    case = next(case for case in GOLDEN if case["name"] == "05_plain")
    data, predictions, na = files(tmp_path, case)
    for name, options in (
        ("without_na_prob", []),
        ("with_na_prob", ["--na-prob-file", na]),
        ("with_na_prob_thresh_0.5", ["-n", na, "--na-prob-thresh", "0.5"]),
    ):
        command = [sys.executable, "-m", "stages.qa.metric", data, predictions, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == printed(case["official"][name]) + "\n"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["metric", *arguments])
    with pytest.raises(SystemExit) as caught:
        run(main)
    return int(caught.value.code or 0)


def test_the_command_writes_a_file_in_place_of_printing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = GOLDEN[0]
    data, predictions, na = files(tmp_path, case)
    out = tmp_path / "out.json"
    assert command(monkeypatch, data, predictions, "-n", na, "--out-file", str(out)) == 0
    assert out.read_text() == json.dumps(case["official"]["with_na_prob"])
    assert capsys.readouterr().out == ""


def test_the_command_names_the_file_at_fault_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, predictions, _ = files(tmp_path, GOLDEN[0])
    out, bad, first = tmp_path / "out.json", tmp_path / "bad.json", next(iter(GOLDEN[0]["predictions"]))
    out.write_text("kept")
    faults: list[tuple[bytes, list[str], str]] = [
        (b"", [data, str(bad)], f"{bad}: the file is empty"),  # case 1
        (b'{"x": "', [data, str(bad)], f"{bad}:1:7: not JSON"),  # case 37
        (b"[]", [data, str(bad)], f"{bad}: the top level is a list"),
        (b"{}", [data, str(bad)], f"{bad}: no text for 25 of 25 questions: '{first}'"),  # case 36
        (b"{}", [data, predictions, "-n", str(bad)], f"{bad}: no number for 25 of 25 questions: '{first}'"),  # case 39
        (b"{}", [str(bad), predictions], f"{bad}: data: is missing"),
        (b"{}", [data, str(tmp_path / "absent")], f"{tmp_path / 'absent'}: cannot be read"),
    ]
    for content, arguments, message in faults:
        bad.write_bytes(content)
        assert command(monkeypatch, *arguments, "-o", str(out)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"error: {message}")
        assert shown.err.count("\n") == 1
        assert out.read_text() == "kept"
    assert command(monkeypatch, data, predictions, "-o", str(tmp_path)) == 4
    assert str(tmp_path) in capsys.readouterr().err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"data.json", "predictions.json", "na.json", "bad.json", "out.json"}


def test_case_13_hidden_labels_are_no_score(tmp_path: Path) -> None:
    """In a process of its own: no traceback, one line, exit code 2."""
    qa = {"id": "q", "question": "Why?", "answers": []}
    data = {"version": "v2.0", "data": [{"paragraphs": [{"context": "x", "qas": [qa]}]}]}
    path, predictions, _ = files(tmp_path, {"dataset": data, "predictions": {"q": ""}, "na_probs": {}})
    arguments = [sys.executable, "-m", "stages.qa.metric", path, predictions]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path}: labels are hidden: every empty answer would count as right")
    assert done.stderr.count("\n") == 1

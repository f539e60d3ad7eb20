"""The strict reader of SQuAD-format files; "case-NN" in a test's name is the number in the project's list of faults."""

import copy
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.qa.data.squad import Answer, keep_articles, read_squad
from stages.qa.data.strict_json import read_strict_json
from stages.qa.errors import InputError

PLACE = "data[0].paragraphs[1].qas[0]"


def valid() -> dict[str, Any]:
    """Two paragraphs: one answerable and one impossible question, and one answerable question."""
    return {
        "version": "v2.0",
        "data": [
            {
                "title": "Trees",
                "paragraphs": [
                    {
                        "context": "Oaks live long.",
                        "qas": [
                            {
                                "id": "q1",
                                "question": "What lives long?",
                                "answers": [{"text": "Oaks", "answer_start": 0}],
                                "is_impossible": False,
                            },
                            {"id": "q2", "question": "Who fells oaks?", "answers": [], "is_impossible": True},
                        ],
                    },
                    {
                        "context": "The birch is white in Finland, and in Norway.",
                        "qas": [
                            {
                                "id": "q3",
                                "question": "Where is it white?",
                                "answers": [{"text": "Finland", "answer_start": 22}],
                                "is_impossible": False,
                            }
                        ],
                    },
                ],
            }
        ],
    }


def changed(path: str, value: Any = ..., document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The valid file with the item at a dotted path set to `value`, or removed; a path from "qa." on leads to q3."""
    document = valid() if document is None else document
    keys = path.replace("answer.", "qa.answers.0.").replace("qa.", "paragraph.qas.0.")
    *parents, last = [
        int(k) if k.isdigit() else k for k in keys.replace("paragraph.", "data.0.paragraphs.1.").split(".")
    ]
    owner: Any = document
    for key in parents:
        owner = owner[key]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return document


def relabelled(**fields: Any) -> dict[str, Any]:
    """The valid file with these fields in all its questions; `...` removes a field."""
    document = valid()
    for paragraph in document["data"][0]["paragraphs"]:
        for qa in paragraph["qas"]:
            qa.update(fields)
            for key in [key for key, value in qa.items() if value is ...]:
                del qa[key]
    return document


def encoded(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def refusal(path: Path, content: Any, purpose: Any) -> str:
    """The error line, less the name of the file."""
    path.write_bytes(encoded(content))
    with pytest.raises(InputError) as caught:
        read_squad(path, purpose=purpose)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}:")
    assert caught.value.exit_code == 2
    return line.removeprefix(f"{path}:").strip()


TEXT = json.dumps(valid(), indent=1)
GZIP = gzip.compress(TEXT.encode(), mtime=0)
NON_ASCII = json.dumps(changed("qa.question", "Où ?"), ensure_ascii=False)
HF_ANSWERS = {"text": ["Finland"], "answer_start": [22]}
ID = "(id 'q3')"


def repeated_id(question: str) -> dict[str, Any]:
    document = changed("qa.id", "q1")
    document["data"][0]["paragraphs"][1]["qas"][0]["question"] = question
    return document


# (what is in the file, purposes, what the line starts with, what else it says)
REFUSED = {
    "case-01-empty-file": (b"", "all", "the file is empty", ()),
    "case-01-white-space": (b" \n\t ", "all", "the file is empty", ()),
    "case-01-byte-order-mark-alone": (b"\xef\xbb\xbf\n", "all", "the file is empty", ()),
    "case-02-truncated": (TEXT[:-10].encode(), "all", f"{TEXT[:-10].count(chr(10)) + 1}:", ("truncated",)),
    "case-02-truncated-in-a-string": (b'{"version": "v2.', "all", "1:13: not JSON", ("truncated",)),
    "case-02-stray-comma": (b'{"version":\n "v2.0",}', "all", "2:9: not JSON", ()),
    "case-04-gzip": (GZIP, "all", "looks like a gzip file", ("gunzip",)),
    "case-04-parquet": (b"PAR1\x15\x04", "all", "looks like a Parquet file", ("download",)),
    "case-04-html": (b"\n<!DOCTYPE html><html></html>", "all", "looks like an HTML", ("download",)),
    "case-04-git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "all", "looks like a git-lfs pointer", ()),
    "case-04-json-lines": (b'{"id": "q1"}\n{"id": "q2"}\n', "all", "2:1: not JSON", ("JSON lines",)),
    "case-05-utf-16": (TEXT.encode("utf-16"), "all", "not UTF-8 at byte 0", ()),
    "case-05-latin-1": (
        NON_ASCII.encode("latin-1"),
        "all",
        f"not UTF-8 at byte {NON_ASCII.encode('latin-1').index(0xF9)}",
        (),
    ),
    "case-06-200k-brackets": (b"[" * 200_000, "all", "cannot be read as JSON", ("recursion",)),
    "case-06-200k-objects": (b'{"data":' * 200_000, "all", "cannot be read as JSON", ("recursion",)),
    "case-06-5000-digits": (b'{"version": ' + b"1" * 5000 + b"}", "all", "cannot be read as JSON", ("digits",)),
    "case-06-duplicate-key": (
        TEXT.replace('"id": "q3"', '"id": "q3", "question": "Why?"').encode(),
        "all",
        "cannot be read as JSON: the key 'question' appears twice",
        ("id 'q3'",),
    ),
    "case-06-duplicate-data": (
        b'{"version": "v2.0", "data": [], "data": []}',
        "all",
        "cannot be read as JSON: the key 'data' appears twice",
        (),
    ),
    "case-07-top-level-list": ([valid()], "all", "the top level is a list", ('"data"',)),
    "case-07-top-level-text": (b'"data"', "all", "the top level is 'data'", ()),
    "case-07-data-missing": (changed("data"), "all", "data: is missing", ()),
    "case-07-data-object": (changed("data", {}), "all", "data: is an object, not a valid list", ()),
    "case-07-article-null": (changed("data.0", None), "all", "data[0]: is null, not a valid object", ()),
    "case-07-paragraphs-missing": (changed("data.0.paragraphs"), "all", "data[0].paragraphs: is missing", ()),
    "case-07-paragraph-text": (
        changed("data.0.paragraphs.1", "x"),
        "all",
        "data[0].paragraphs[1]: is 'x', not a valid object",
        (),
    ),
    "case-07-qas-missing": (changed("paragraph.qas"), "all", "data[0].paragraphs[1].qas: is missing", ()),
    "case-07-answers-of-hugging-face": (
        changed("qa.answers", HF_ANSWERS),
        "all",
        f"{PLACE}.answers {ID}: is an object",
        ("Hugging Face",),
    ),
    "case-07-title-number": (changed("data.0.title", 7), "all", "data[0].title: is 7, not a valid string", ()),
    "case-08-id-missing": (changed("qa.id"), "all", f"{PLACE}.id: is missing", ()),
    "case-08-question-missing": (changed("qa.question"), "all", f"{PLACE}.question {ID}: is missing", ()),
    "case-08-context-missing": (changed("paragraph.context"), "all", "data[0].paragraphs[1].context: is missing", ()),
    "case-08-answers-missing": (changed("qa.answers"), "all", f"{PLACE}.answers {ID}: is missing", ()),
    "case-08-text-missing": (changed("answer.text"), "all", f"{PLACE}.answers[0].text {ID}: is missing", ()),
    "case-09-id-boolean": (changed("qa.id", True), "all", f"{PLACE}.id: is true, not a valid string", ()),
    "case-09-id-fraction": (changed("qa.id", 3.0), "all", f"{PLACE}.id: is 3.0, not a valid string", ()),
    "case-09-id-empty": (changed("qa.id", ""), "all", f"{PLACE}.id: is empty", ()),
    "case-09-id-blank": (changed("qa.id", " "), "all", f"{PLACE}.id: is blank", ()),
    "case-10-id-twice": (
        repeated_id("Where is it white?"),
        "all",
        f"{PLACE}.id (id 'q1'): ",
        ("data[0].paragraphs[0].qas[0]",),
    ),
    "case-10-id-twice-conflicting": (
        changed("qa.is_impossible", True, changed("qa.answers", [], changed("qa.id", "q1"))),
        "all",
        f"{PLACE}.id (id 'q1'): ",
        ("data[0].paragraphs[0].qas[0]",),
    ),
    "case-11-version-2-without-is-impossible": (
        relabelled(is_impossible=...),
        "all",
        "data[0].paragraphs[0].qas[0].is_impossible (id 'q1'): is missing",
        ('"version": "1.1"', "and 2 more"),
    ),
    "case-11-one-question-without-is-impossible": (
        changed("qa.is_impossible"),
        "all",
        f"{PLACE}.is_impossible {ID}: is missing",
        ('"version": "1.1"',),
    ),
    "case-11-the-last-question-alone-hides-its-label": (
        changed("qa.is_impossible", ..., changed("qa.answers", [])),
        "all",
        f"{PLACE}.is_impossible {ID}: is missing",
        ('"version": "1.1"',),
    ),
    "case-11-version-1.1-without-an-answer": (
        changed("version", "1.1", relabelled(is_impossible=...)),
        "all",
        "data[0].paragraphs[0].qas[1].is_impossible (id 'q2'): is false, but answers has 0",
        (),
    ),
    "case-12-no-data": ({"q1": "Oaks"}, "all", "data: is missing", ()),
    "case-13-labels-hidden": (
        relabelled(is_impossible=..., answers=[]),
        "train score",
        "labels are hidden: every empty answer would count as right",
        (),
    ),
    "case-14-true-with-answers": (changed("qa.is_impossible", True), "all", f"{PLACE}.is_impossible {ID}: is true", ()),
    "case-14-false-without-answers": (
        changed("qa.answers", []),
        "all",
        f"{PLACE}.is_impossible {ID}: is false, but answers has 0",
        (),
    ),
    "case-14-null": (changed("qa.is_impossible", None), "all", f"{PLACE}.is_impossible {ID}: is null", ()),
    "case-14-text": (changed("qa.is_impossible", "false"), "all", f"{PLACE}.is_impossible {ID}: is 'false', not", ()),
    "case-14-number": (
        changed("qa.is_impossible", 0),
        "all",
        f"{PLACE}.is_impossible {ID}: is 0, not a valid",
        (),
    ),
    "case-15-start-negative": (
        changed("answer.answer_start", -1),
        "all",
        f"{PLACE}.answers[0].answer_start {ID}: is -1",
        (),
    ),
    "case-15-start-beyond": (
        changed("answer.answer_start", 10**30),
        "train predict",
        f"{PLACE}.answers[0].answer_start {ID}: is 10",
        ("the context has ''", "'Finland'"),
    ),
    "case-15-start-nan": (
        changed("answer.answer_start", float("nan")),
        "all",
        f"{PLACE}.answers[0].answer_start {ID}: is NaN",
        ("a valid integer",),
    ),
    "case-15-start-text": (
        changed("answer.answer_start", "22"),
        "all",
        f"{PLACE}.answers[0].answer_start {ID}: is '22'",
        ("a valid integer",),
    ),
    "case-15-start-float": (changed("answer.answer_start", 22.0), "all", f"{PLACE}.answers[0].answer_start {ID}: ", ()),
    "case-15-start-true": (changed("answer.answer_start", True), "all", f"{PLACE}.answers[0].answer_start {ID}: ", ()),
    "case-15-start-missing": (
        changed("answer.answer_start"),
        "all",
        f"{PLACE}.answers[0].answer_start {ID}: is missing",
        (),
    ),
    "case-16-off-by-one": (
        changed("answer.answer_start", 21),
        "train predict",
        f"{PLACE}.answers[0].answer_start {ID}: is 21",
        ("' Finlan'", "'Finland'", "at 22"),
    ),
    "case-16-off-by-one-space": (
        changed("qa.answers", [{"text": " is", "answer_start": 10}]),
        "train predict",
        f"{PLACE}.answers[0].answer_start {ID}: is 10",
        ("'is '", "' is'", "at 9"),
    ),
    "case-16-not-in-the-context": (
        changed("answer.text", "Sweden"),
        "train predict",
        f"{PLACE}.answers[0].answer_start {ID}: ",
        ("'Finlan'", "'Sweden'", "not in the context"),
    ),
    "case-17-gold-empty": (changed("answer.text", ""), "train", f"{PLACE}.answers[0].text {ID}: is empty", ()),
    "case-17-gold-blank": (changed("answer.text", " "), "train", f"{PLACE}.answers[0].text {ID}: is blank", ()),
    "case-18-answers-null": (
        changed("qa.answers", None),
        "all",
        f"{PLACE}.answers {ID}: is null, not a valid list",
        (),
    ),
    "case-18-answer-null": (changed("qa.answers.0", None), "all", f"{PLACE}.answers[0] {ID}: is null", ()),
    "case-18-text-null": (changed("answer.text", None), "all", f"{PLACE}.answers[0].text {ID}: is null", ()),
    "case-19-context-empty": (changed("paragraph.context", ""), "all", "data[0].paragraphs[1].context: is empty", ()),
    "case-19-context-blank": (
        changed("paragraph.context", " \n"),
        "all",
        "data[0].paragraphs[1].context: is blank",
        (),
    ),
    "case-19-question-empty": (changed("qa.question", ""), "all", f"{PLACE}.question {ID}: is empty", ()),
    "case-19-question-blank": (changed("qa.question", "\u00a0"), "all", f"{PLACE}.question {ID}: is blank", ()),
    "case-20-no-data": (changed("data", []), "all", "no questions", ()),
    "case-20-no-paragraphs": (changed("data.0.paragraphs", []), "all", "no questions", ()),
    "case-22-surrogate-in-the-context": (
        changed("paragraph.context", "\ud800 Finland"),
        "all",
        "data[0].paragraphs[1].context: holds half a surrogate",
        (),
    ),
    "case-22-surrogate-in-the-question": (
        changed("qa.question", "Wh\udfff?"),
        "all",
        f"{PLACE}.question {ID}: holds half",
        (),
    ),
    "case-22-surrogate-in-an-answer": (
        changed("answer.text", "\udc00"),
        "all",
        f"{PLACE}.answers[0].text {ID}: holds half",
        (),
    ),
}


@pytest.mark.parametrize(
    ("content", "purpose", "start", "says"),
    [
        pytest.param(content, purpose, start, says, id=f"{name}-{purpose}")
        for name, (content, purposes, start, says) in REFUSED.items()
        for purpose in (("train", "score", "predict") if purposes == "all" else purposes.split())
    ],
)
def test_a_fault_is_one_line_with_file_place_and_id(
    tmp_path: Path, content: Any, purpose: str, start: str, says: tuple[str, ...]
) -> None:
    line = refusal(tmp_path / "squad.json", content, purpose)
    assert line.startswith(start)
    for words in says:
        assert words in line


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in tmp_path / "absent.json", tmp_path:
        with pytest.raises(InputError) as caught:
            read_squad(path, purpose="score")
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


def test_all_faults_are_counted_and_the_first_of_the_file_is_told(tmp_path: Path) -> None:
    document = changed("qa.id", None, changed("answer.answer_start", -1))
    document["data"][0]["paragraphs"][0]["qas"][1]["question"] = None
    line = refusal(tmp_path / "squad.json", document, "train")
    assert line == "data[0].paragraphs[0].qas[1].question (id 'q2'): is null, not a valid string (and 2 more)"


@pytest.mark.parametrize("version", ["1.0", "KorQuAD_v1.0_train", 1, None])
def test_case_12_other_versions_are_told_by_their_questions(tmp_path: Path, version: Any) -> None:
    """As SquadShifts and KorQuAD have them: all questions with answers, and no is_impossible."""
    path = tmp_path / "squad.json"
    document = relabelled(is_impossible=..., answers=[{"text": "i", "answer_start": 5}])
    document["data"][0]["paragraphs"][0]["context"] = document["data"][0]["paragraphs"][1]["context"]
    path.write_bytes(encoded(changed("version", version, document)))
    assert [example.is_impossible for example in read_squad(path, purpose="train")] == [False] * 3
    document["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"] = False
    path.write_bytes(encoded(changed("version", version, document)))
    with pytest.raises(InputError, match=r"is_impossible .*: is missing; .* \(and 1 more\)"):
        read_squad(path, purpose="train")


def test_case_09_numbers_become_ids(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(encoded(changed("qa.id", 3)))
    assert [example.id for example in read_squad(path, purpose="train")] == ["q1", "q2", "3"]
    document = changed("qa.id", 3)
    document["data"][0]["paragraphs"][0]["qas"][0]["id"] = "3"
    path.write_bytes(encoded(document))
    with pytest.raises(InputError, match="ids must be unique"):
        read_squad(path, purpose="train")


def test_one_fault_is_counted_once(tmp_path: Path) -> None:
    """What follows from a fault is not a fault of its own: a bad context has no slices, null answers no number."""
    for path in "paragraph.context", "qa.answers", "answer.text", "answer.answer_start", "qa.id":
        assert "more)" not in refusal(tmp_path / "squad.json", changed(path, None), "train")


def test_long_and_unprintable_values_stay_on_one_short_line(tmp_path: Path) -> None:
    line = refusal(tmp_path / "squad.json", changed("qa.is_impossible", "x\n\u2028\x1b" * 10_000), "score")
    assert line.isprintable()
    assert len(line) < 200


# What is accepted


def test_a_valid_file_in_its_own_order(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(encoded(valid()))
    for purpose in "train", "score", "predict":
        first, second, third = read_squad(path, purpose=purpose)
        assert (first.id, first.question, first.context) == ("q1", "What lives long?", "Oaks live long.")
        assert (first.answers, first.is_impossible, first.title) == ((Answer("Oaks", 0),), False, "Trees")
        assert (second.id, second.answers, second.is_impossible) == ("q2", (), True)
        assert (third.id, third.answers, third.is_impossible) == ("q3", (Answer("Finland", 22),), False)
        assert [(e.article, e.paragraph) for e in (first, second, third)] == [(0, 0), (0, 0), (0, 1)]


@pytest.mark.parametrize(("title", "article"), [("Another", 1), (None, 0), ("", 1)])
def test_paragraphs_are_numbered_through_the_file(title: str | None, article: int, tmp_path: Path) -> None:
    """Entries of one title are one article; an entry without one is an article by itself."""
    document = valid()
    document["data"].append(copy.deepcopy(document["data"][0]))
    if title is not None:
        document["data"][1]["title"] = title
    for paragraph in document["data"][1]["paragraphs"]:
        for qa in paragraph["qas"]:
            qa["id"] += "-again"  # the same context once more is another paragraph
    path = tmp_path / "squad.json"
    path.write_bytes(encoded(document))
    examples = read_squad(path, purpose="train")
    assert [(e.article, e.paragraph) for e in examples] == [(0, 0), (0, 0), (0, 1), *((article, p) for p in (2, 2, 3))]


ODD = "\U0001f600 سلام e\u0301\u200b \uff12\uff10 \u202eabc\u202c \x00 [SEP] [CLS] <s> end"
ACCEPTED = {
    "case-03-byte-order-mark": (b"\xef\xbb\xbf" + TEXT.encode(), "train"),
    "case-08-title-missing": (changed("data.0.title"), "train"),
    "case-12-version-2.0": (changed("version", "2.0"), "train"),
    "case-12-version-3.7": (changed("version", "v3.7"), "train"),
    "case-12-version-missing": (changed("version"), "score predict"),
    "case-12-version-number": (changed("version", 2.0), "train"),
    "case-15-start-beyond": (changed("answer.answer_start", 10**30), "score"),
    "case-16-off-by-one": (changed("answer.answer_start", 21), "score"),
    "case-17-gold-empty": (changed("answer.text", ""), "score predict"),
    "case-17-gold-article": (
        changed("paragraph.context", "the birch", changed("qa.answers", [{"text": "the", "answer_start": 0}])),
        "train score predict",
    ),
    "case-20-one-article-empty": (
        changed("data", [{"paragraphs": []}, {"paragraphs": [{"context": "x", "qas": []}]}, *valid()["data"]]),
        "train",
    ),
    "extra-keys": (changed("qa.plausible_answers", 3, changed("paragraph.source", None)), "train"),
}


@pytest.mark.parametrize(
    ("content", "purpose"),
    [
        pytest.param(content, purpose, id=f"{name}-{purpose}")
        for name, (content, purposes) in ACCEPTED.items()
        for purpose in purposes.split()
    ],
)
def test_what_is_no_fault_is_read(tmp_path: Path, content: Any, purpose: Any) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(encoded(content))
    assert [e.id for e in read_squad(path, purpose=purpose)] == ["q1", "q2", "q3"]


@pytest.mark.parametrize("version", ["1.1", "v1.1"])
def test_case_11_all_of_squad_1_1_is_answerable(tmp_path: Path, version: str) -> None:
    path = tmp_path / "squad.json"
    document = changed("version", version, relabelled(is_impossible=..., answers=[{"text": "i", "answer_start": 5}]))
    document["data"][0]["paragraphs"][0]["context"] = document["data"][0]["paragraphs"][1]["context"]
    path.write_bytes(encoded(document))
    assert [e.is_impossible for e in read_squad(path, purpose="train")] == [False] * 3


@pytest.mark.parametrize("version", ["v2.0", "1.1"])
def test_case_13_hidden_labels_are_read_to_predict(tmp_path: Path, version: str) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(encoded(changed("version", version, relabelled(is_impossible=..., answers=[]))))
    examples = read_squad(path, purpose="predict")
    assert [(e.id, e.answers, e.is_impossible) for e in examples] == [(f"q{n}", (), None) for n in (1, 2, 3)]


@pytest.mark.parametrize("escaped", [True, False])
def test_case_23_24_25_odd_text_is_kept_character_by_character(tmp_path: Path, escaped: bool) -> None:
    text = ODD if escaped else ODD.replace("\x00", "")  # JSON allows NUL only as an escape
    answer = {"text": text[2:], "answer_start": 2}
    document = changed("paragraph.context", text, changed("qa.answers", [answer]))
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(document, ensure_ascii=escaped), encoding="utf-8")
    example = read_squad(path, purpose="train")[-1]
    assert example.context == text
    assert example.answers == (Answer(text[2:], 2),)


# Any damage at all


def damaged(document: dict[str, Any], random_: random.Random) -> Any:
    """The document with one to three items removed, doubled, or replaced by something odd."""
    document = copy.deepcopy(document)
    for _ in range(random_.randint(1, 3)):
        spots: list[tuple[Any, Any]] = []
        todo: list[Any] = [document]
        while todo:
            owner = todo.pop()
            keys = list(owner) if isinstance(owner, dict) else range(len(owner))
            spots += [(owner, key) for key in keys]
            todo += [owner[key] for key in keys if isinstance(owner[key], dict | list)]
        if not spots:
            break
        owner, key = random_.choice(spots)
        odd: list[Any] = [
            None,
            True,
            False,
            -1,
            0,
            22,
            1.5,
            float("nan"),
            10**400,
            "",
            " ",
            "q1",
            "v2.0",
            "1.1",
            "\ud800",
            [],
            {},
        ]
        match random_.randrange(4):
            case 0:
                del owner[key]
            case 1:
                owner[key] = [copy.deepcopy(owner[key])] * 2
            case 2:
                owner[key] = {"text": owner[key], "id": "q3"}
            case _:
                owner[key] = random_.choice(odd)
    return document


def read_or_refuse(path: Path, purpose: Any) -> None:
    refused = None
    try:
        examples = read_squad(path, purpose=purpose)
    except InputError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused.splitlines()) == 1
        assert refused.startswith(f"{path}:")
        return
    assert examples
    assert len({e.id for e in examples}) == len(examples)
    for e in examples:
        assert e.id
        assert e.question.strip()
        assert e.context.strip()
        if e.is_impossible is None:
            assert purpose == "predict"
        else:
            assert e.is_impossible == (not e.answers)
        if purpose == "train":
            assert all(a.text and e.context[a.start : a.start + len(a.text)] == a.text for a in e.answers)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(random_=st.randoms(use_true_random=False), purpose=st.sampled_from(["train", "score", "predict"]))
def test_a_damaged_structure_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, random_: random.Random, purpose: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(encoded(damaged(valid(), random_)))
    read_or_refuse(path, purpose)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    at=st.integers(0, len(TEXT)),
    length=st.integers(0, 40),
    patch=st.one_of(st.binary(max_size=6), st.text(max_size=3).map(lambda s: s.encode("utf-8", "replace"))),
    purpose=st.sampled_from(["train", "score", "predict"]),
)
def test_damaged_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, length: int, patch: bytes, purpose: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(TEXT.encode()[:at] + patch + TEXT.encode()[at + length :])
    read_or_refuse(path, purpose)


# Real files


@pytest.mark.parametrize(
    ("name", "purpose", "questions", "impossible"),
    [
        ("dev-cs224n", "score", 6078, 3168),
        ("dev-cs224n", "predict", 6078, 3168),
        ("dev-cs224n", "train", 6078, 3168),
        ("train-15k", "train", 14951, 3080),
    ],
)
def test_real_squad_is_read_whole(
    tmp_path: Path, squad_dir: Path, name: str, purpose: Any, questions: int, impossible: int
) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(gzip.decompress((squad_dir / f"{name}.json.gz").read_bytes()))
    examples = read_squad(path, purpose=purpose)
    assert len(examples) == questions
    assert sum(e.is_impossible is True for e in examples) == impossible
    expected = [
        (qa["id"], qa["question"], paragraph["context"], [(a["text"], a["answer_start"]) for a in qa["answers"]])
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    assert [(e.id, e.question, e.context, [(a.text, a.start) for a in e.answers]) for e in examples] == expected
    contexts: dict[int, str] = {}
    assert all(contexts.setdefault(e.paragraph, e.context) == e.context for e in examples)


# The first articles of a file


def test_the_first_articles_are_written_as_json_writes_them(tmp_path: Path) -> None:
    document = valid() | {"source": {"w": [1]}}
    document["data"] += [{"title": f"é {number}", "paragraphs": [], "x": "a\nb"} for number in range(5)]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(document))
    keep_articles(path, 4)
    assert path.read_text() == json.dumps(document | {"data": document["data"][:4]}, indent=1) + "\n"


def test_articles_are_not_cut_from_another_file(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('{"q1": "Oaks"}')
    with pytest.raises(InputError, match=r"train\.json: data: is missing$"):
        keep_articles(path, 1)
    assert path.read_text() == '{"q1": "Oaks"}'


# Other JSON that a user gives


def test_strict_json_reads_what_json_reads(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('{"q1": "é", "q2": ["", null, 1e3, {"a": {}}]}', encoding="utf-8")
    assert read_strict_json(path) == {"q1": "é", "q2": ["", None, 1000.0, {"a": {}}]}


def test_a_key_twice_is_an_error_in_any_json(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('{"q1": "a", "q2": "b", "q1": "c"}')
    with pytest.raises(InputError, match=r"predictions\.json: cannot be read as JSON: the key 'q1' appears twice"):
        read_strict_json(path)

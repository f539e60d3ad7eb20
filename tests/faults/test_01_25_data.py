"""Cases 1 to 25: data files, as a user may give them. The contents are those of tests/data/test_squad.py."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from tests.conftest import TinyModel
from tests.data.test_squad import ACCEPTED, REFUSED, TEXT, changed, encoded, relabelled, valid
from tests.faults.study import Study
from tests.test_metric import GOLDEN, printed
from tests.tiny_models import TOKENIZERS

ODD = "\U0001f600 سلام عليكم e\u0301 cafe\u0301 \uff12\uff10 zero\u200bwidth \u202eabc\u202c NUL\x00NUL end"


def refused(study: Study, number: int) -> None:
    """Every content of the case, given to the stages that read it for the purposes at which it is a fault."""
    names = [name for name in REFUSED if name.startswith(f"case-{number:02}-")]
    assert names
    for place, name in enumerate(names):
        content, purposes, start, says = REFUSED[name]
        every = ["train", "score", "predict"] if purposes == "all" else purposes.split()
        chosen = every if place == 0 else ["score"] if "score" in every else every[:1]  # one content by all stages
        for purpose in chosen:
            path = study.squad(encoded(content), "train" if purpose == "train" else "dev")
            command = {"train": study.finetune(), "score": study.evaluate(), "predict": study.predict("headed", False)}
            study.refused(2, [str(path.relative_to(study.root)), start, *says], *command[purpose])


def accepted(study: Study, number: int) -> None:
    """Every content of the case, scored and compared with the same content as plain JSON, and predicted."""
    names = [name for name in ACCEPTED if name.startswith(f"case-{number:02}-")]
    for name in names:
        content, purposes = ACCEPTED[name]
        if "train" in purposes:
            study.squad(encoded(content), "train")
            study.well(*study.finetune())
        study.squad(encoded(content))
        study.well(*study.predict("headed", False))
        study.well(*study.evaluate("headed", False))


def official(study: Study, content: Any, predictions: dict[str, str]) -> dict[str, float]:
    """What `python -m stages.qa.metric` prints, checked against a few lines of the official algorithm."""
    (study.root / "predictions.json").write_text(json.dumps(predictions))
    done = study.well("qa.metric", study.squad(content), "predictions.json")
    return dict(json.loads(done.out))


def test_case_01_empty(study: Study) -> None:
    """Empty file, white space, a byte order mark alone."""
    refused(study, 1)


def test_case_02_truncated(study: Study) -> None:
    """JSON cut off in a list, in a string, with a stray comma: line and column."""
    refused(study, 2)


def test_case_03_byte_order_mark(study: Study, tell: Callable[[str], None]) -> None:
    """A byte order mark before the JSON: the scores of the file without it."""
    predictions = {"q1": "Oaks", "q2": "", "q3": "in Finland"}
    scores = [official(study, content, predictions) for content in (TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode())]
    assert scores[0] == scores[1]
    accepted(study, 3)
    tell(f"f1 {scores[1]['f1']:.2f} both")


def test_case_04_other_formats(study: Study) -> None:
    """Gzip, an HTML page, a git-lfs pointer, JSON lines: the line says what it looks like."""
    refused(study, 4)


def test_case_05_other_encodings(study: Study) -> None:
    """UTF-16, Latin-1: not UTF-8 at byte N."""
    refused(study, 5)


def test_case_06_brackets_and_duplicate_keys(study: Study) -> None:
    """200,000 nested brackets, 5,000 digits, a key twice."""
    refused(study, 6)


def test_case_07_other_layouts(study: Study) -> None:
    """A list on top, no data, answers as Hugging Face's datasets have them: the path."""
    refused(study, 7)


def test_case_08_missing_fields(study: Study) -> None:
    """No id, question, context, answers or text (a title may be absent): path and id."""
    refused(study, 8)
    accepted(study, 8)
    study.tell("those refused, exit 2; a file without title read")


def test_case_09_bad_ids(study: Study) -> None:
    """An id that is a boolean, a fraction, empty or blank."""
    refused(study, 9)


def test_case_10_id_twice(study: Study) -> None:
    """An id twice, on the same or another question: both paths."""
    refused(study, 10)


def test_case_11_version_1_1(study: Study, tell: Callable[[str], None]) -> None:
    """Questions without is_impossible: refused with a hint under version 2.0; scored under 1.1."""
    refused(study, 11)
    document = relabelled(is_impossible=..., answers=[{"text": "i", "answer_start": 5}])
    document["data"][0]["paragraphs"][0]["context"] = document["data"][0]["paragraphs"][1]["context"]
    scores = official(study, changed("version", "1.1", document), {"q1": "i", "q2": "i", "q3": ""})
    assert scores == {
        **{"exact": 200 / 3, "f1": 200 / 3, "total": 3},
        **{"HasAns_exact": 200 / 3, "HasAns_f1": 200 / 3, "HasAns_total": 3},
    }
    tell("exit 2, the hint; with the version, 2 of 3 right as counted by hand")


def test_case_12_other_versions(study: Study) -> None:
    """No version but v2.0: v3.7, none, a number are read by what their questions have; a file without data is named."""
    refused(study, 12)
    accepted(study, 12)


def test_case_13_hidden_labels(study: Study, tell: Callable[[str], None]) -> None:
    """A test split without labels: predicted; evaluation refused, as every empty answer would count as right."""
    study.squad(relabelled(is_impossible=..., answers=[]))
    study.well(*study.predict("headed", False))
    line = study.refused(2, ["labels are hidden"], *study.evaluate("headed", False))
    study.refused(2, ["labels are hidden"], "qa.metric", study.data / "dev.json", "predictions.json")
    tell(f"predict exit 0; evaluate exit 2, {line.rpartition('sample/')[2]}")


def test_case_14_contradictory_labels(study: Study) -> None:
    """is_impossible true with answers, false without, null, "false", 0: id."""
    refused(study, 14)


def test_case_15_bad_offsets(study: Study) -> None:
    """answer_start negative, beyond the context, NaN, a string, missing: id."""
    refused(study, 15)


def test_case_16_offset_off_by_one(study: Study, tell: Callable[[str], None]) -> None:
    """answer_start off by one: refused in training with expected and found text; scored as without the fault."""
    refused(study, 16)
    predictions = {"q1": "Oaks", "q2": "", "q3": "Finland"}
    wrong, right = (official(study, d, predictions) for d in (changed("answer.answer_start", 21), valid()))
    assert wrong == right
    tell("train exit 2, which text is where; score equal")


def test_case_17_odd_golds(study: Study, tell: Callable[[str], None]) -> None:
    """Gold answers that are empty, blank, "the", "-": the first two refused in training; scores equal the official."""
    refused(study, 17)
    odd = [case for case in GOLDEN if "weird_gold" in case["name"]]
    for case in odd:
        (study.root / "predictions.json").write_text(json.dumps(case["predictions"]))
        done = study.well("qa.metric", study.squad(case["dataset"]), "predictions.json")
        assert done.out == printed(case["official"]["without_na_prob"]) + "\n"
    tell(f"train exit 2; {len(odd)} data sets score as the official script's printout, to the byte")


def test_case_18_null_answers(study: Study) -> None:
    """answers, an answer or its text null."""
    refused(study, 18)


def test_case_19_empty_texts(study: Study) -> None:
    """Empty or blank context or question: id."""
    refused(study, 19)


def test_case_20_no_questions(study: Study) -> None:
    """data [] or paragraphs []."""
    refused(study, 20)


def test_case_21_one_kind_only(done: Study, tell: Callable[[str], None]) -> None:
    """Only answerable or only impossible questions, through predict, evaluate and report: the absent group is empty."""
    empty = {}
    done.set(guard=0.0)  # the answers are parts of words
    for kind, fields in {
        "HasAns": {"answers": [], "is_impossible": True},
        "NoAns": {"answers": [{"text": "i", "answer_start": 5}], "is_impossible": False},
    }.items():
        document = relabelled(**fields)
        document["data"][0]["paragraphs"][0]["context"] = document["data"][0]["paragraphs"][1]["context"]
        done.squad(document)
        for model, probes in ("tiny", True), ("headed", False):
            done.well(*done.predict(model, probes))
            done.well(*done.evaluate(model, probes))
        rows = (done.root / "metrics/demo/tiny/evaluate/layers.csv").read_text().splitlines()
        column = rows[0].split(",").index(f"{kind}_f1")
        empty[kind] = {row.split(",")[column] for row in rows[1:]}
        done.well(*done.report())
        assert "nan" not in (done.root / "plots/demo/report.md").read_text()
    assert empty == {"HasAns": {""}, "NoAns": {""}}
    tell("empty cells in the CSV, '-' in the table")


def test_case_22_half_a_surrogate(study: Study) -> None:
    """Half a surrogate pair in context, question, answer: id."""
    refused(study, 22)


def test_case_23_odd_characters(done: Study, tell: Callable[[str], None]) -> None:
    """Emoji, RTL, NFD, full width, zero width: every answer of every layer is an exact slice of its context."""
    text = ODD.replace("\x00", "")
    answer = {"text": "cafe\u0301", "answer_start": text.index("cafe")}
    slices(done, changed("paragraph.context", text, changed("qa.answers", [answer])), gold="cafe\u0301")
    tell("slices all; the gold reading keeps its combining mark")


def slices(study: Study, document: Any, *, gold: str) -> None:
    contexts = {
        qa["id"]: paragraph["context"] for paragraph in document["data"][0]["paragraphs"] for qa in paragraph["qas"]
    }
    study.squad(document)
    study.well(*study.predict())
    study.well(*study.evaluate())
    files = sorted((study.root / "data/predictions/tiny/tiny/standard").glob("**/layer_??.json"))
    assert files
    for file in files:
        assert all(answer in contexts[id_] for id_, answer in json.loads(file.read_text()).items())
    found = json.loads((study.root / "data/predictions/tiny/tiny/standard/gold.json").read_text())
    assert found["q3"] == gold


@pytest.mark.parametrize("family", TOKENIZERS)
def test_case_24_special_tokens_in_text(family: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """[SEP], [CLS], <s> in question and context: text, in all ten tokenizers; the special tokens are as many."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
    special = [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]
    counts = []
    for odd in "", " [SEP] [CLS] <s> </s> <pad> [MASK] ":
        document = changed("paragraph.context", f"Oaks{odd} live", changed("qa.question", f"Who{odd}?"))
        document = changed("qa.answers", [{"text": "live", "answer_start": len(f"Oaks{odd} ")}], document)
        (tmp_path / "train.json").write_text(json.dumps(document))
        examples = read_squad(tmp_path / "train.json", purpose="train")[-1:]
        windows = make_windows(examples, tokenizer, max_seq_length=200, doc_stride=100, max_query_length=64)
        counts.append(sum(int(i) in special for i in windows.input_ids))
    assert counts[0] == counts[1] > 0


def test_case_25_nul_character(done: Study, tell: Callable[[str], None]) -> None:
    """A NUL character in the context: slices are still exact."""
    answer = {"text": "end", "answer_start": ODD.index("end")}
    slices(done, changed("paragraph.context", ODD, changed("qa.answers", [answer])), gold="end")
    tell("slices exact")

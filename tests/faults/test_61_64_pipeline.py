"""Cases 61, 62 and 64: parameters, the shell, and text that pretends to be markup or a formula."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.qa.config import load_params
from stages.qa.files import read_tensors, write_tensors
from tests.faults.launcher import ROOT
from tests.faults.study import Study
from tests.tiny_models import read_yaml

HOSTILE = [
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '=cmd|" /C calc"!A0', "+1+1", "@SUM(A1)"),
    *("NA", "null", "nan", "", "two\nlines", "a\rb", "tab\there", '"quoted", and, commas', "1e5", "007"),
    *("| a | b |", "[x](javascript:alert(1))", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "`code` **bold** $x$"),
]


def test_case_61_values_of_params(study: Study) -> None:
    """3e-5 and 010 as YAML 1.2 has them; "3e-5", no, unknown and missing keys, -1, 0 epochs, bad files: named."""
    path, method = study.root / "params.yaml", study.root / "method.yaml"
    text, constants = path.read_text(), method.read_text()
    study.set(finetuned__tuned__learning_rate=None)
    null = path.read_text()
    assert null != text
    for written, value in ("3e-5", 3e-5), ("1.0e-3", 1e-3), ("5", 5.0):
        path.write_text(one(null, written))
        assert load_params(path, method).finetuned["tuned"].learning_rate == value
        study.well("plan", "check")
    for written in '"3e-5"', "no", "-1", "0", ".nan", ".inf", "[1]", "!!python/object/apply:os.system [id]", "1_0x":
        path.write_text(one(null, written))
        study.refused(2, ["params.yaml"], "plan", "check")
    path.write_text(text)
    study.set(finetuned__tuned__num_train_epochs=0)
    study.refused(2, ["finetuned.tuned.num_train_epochs", "greater than 0", "found 0"], *study.finetune())
    path.write_text(text)
    method.write_text(constants.replace("max_query_length: 64", "max_query_length: 010"))
    assert load_params(path, method).windows.max_query_length == 10
    method.write_text(constants.replace("max_query_length: 64", "max_query_lenght: 64"))
    study.refused(2, ["windows.max_query_length: Field required"], *study.predict())
    method.write_text(constants)
    path.write_text(text + "extra: 1\n")
    study.refused(2, ["extra: Extra inputs"], *study.evaluate())
    path.write_text(text)
    for file in path, method:
        for content in b"", b"- a\n", b"\xff\xfe", b"a: [", b"a: &a [*a]\n", b"study: demo\nstudy: other\n":
            before = file.read_bytes()
            file.write_bytes(content)
            study.refused(2, [file.name], "plan", "check")
            file.write_bytes(before)
    path.unlink()
    study.refused(2, ["params.yaml: cannot be read"], "plan", "check")


def one(text: str, value: str) -> str:
    """The text with a value for the learning rate that is empty in it."""
    lines = text.splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.strip() == "learning_rate:"]
    return "".join([*lines[:place], lines[place].rstrip() + f" {value}\n", *lines[place + 1 :]])


@pytest.mark.parametrize("place", ["datasets", "finetuned", "study"])
def test_case_62_shell(place: str, study: Study) -> None:
    """A key or a name "x; touch PWNED #": refused in one line, as `make repro` checks it before DVC reads it."""
    odd = "x; touch PWNED #"
    study.set(**{place: odd if place == "study" else {odd: {}}})
    study.refused(2, ["params.yaml", place], "plan", "check")


def test_keys_are_quoted_in_every_command() -> None:
    commands = [stage["do"]["cmd"] for stage in read_yaml(ROOT / "dvc.yaml")["stages"].values()]
    for command in commands:
        assert "$" not in re.sub(r"'[^']*'", "", command), command


def test_case_64_text_is_inert(done: Study, tell: Callable[[str], None]) -> None:
    """Markup, formulas, NA, null, line ends, escapes as answers: exact in JSON and CSV, plain words in Markdown."""
    questions = []
    for number, text in enumerate(HOSTILE):
        context = f"They wrote {text} on the wall." if text.strip() else "They wrote nothing."
        answers = [{"text": text, "answer_start": 11}] if text.strip() else []
        qa = {"id": f"q{number}", "question": f"What? {text}", "answers": answers, "is_impossible": not answers}
        questions.append({"context": context, "qas": [qa]})
    done.squad({"version": "v2.0", "data": [{"title": "t", "paragraphs": questions}]})
    done.set(guard=0.0)  # some of these texts are no words to a tokenizer
    done.well(*done.predict())
    folder = done.root / "data/predictions/tiny/tiny/standard"
    header = json.loads((folder / "answers.json").read_text())
    row = [reading["kind"] for reading in header["readings"]].index("probe")
    for number, text in enumerate(HOSTILE):  # as if a probe had said it
        gold = json.loads((folder / "gold.json").read_text())[f"q{number}"].strip()
        assert gold in text or text in gold or not text
        header["texts"].append(text)
        plant(folder, row, number, len(header["texts"]) - 1)
    (folder / "answers.json").write_text(json.dumps(header))
    done.well(*done.evaluate())
    scores = json.loads((done.root / "data/scores/demo/tiny/standard/questions.json").read_text())
    assert set(scores["ids"]) == {f"q{n}" for n in range(len(HOSTILE))}
    assert set(HOSTILE) <= set(scores["texts"])
    done.well(*done.examine())
    done.well(*done.report())
    page = (done.root / "plots/demo/report.html").read_text()
    for text in HOSTILE:
        if "<" in text:
            assert text not in page
            assert html.escape(text) != text
    for path in (done.root / "plots/demo").glob("*.csv"):  # what `dvc plots show` puts into a page as it is
        allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.,\n")
        assert set(path.read_text()) <= allowed, path
    tell(f"{len(HOSTILE)} texts exact in JSON, inert in the page; plot data hold numbers and keys alone")


def plant(folder: Path, row: int, question: int, text: int) -> None:
    """Let that reading answer the question with a text of the list, and be sure of it."""
    tensors = {name: array.copy() for name, array in read_tensors(folder / "answers.safetensors").items()}
    tensors["text"][row, question] = text
    tensors["null_score"][row, question] = tensors["score"][row, question] - 1
    write_tensors(folder / "answers.safetensors", tensors)


def test_case_64_terminal(study: Study) -> None:
    """Escape sequences in a file's name and content: shown as text on the terminal."""
    odd = "\x1b[31mdev\x1b]0;title\x07.json"
    (study.data / odd).write_bytes(b"")
    line = study.refused(2, ["\\x1b[31mdev"], "qa.metric", study.data / odd, "predictions.json")
    assert "\x1b" not in line
    path = study.root / "params.yaml"
    path.write_text(path.read_text().replace("study: demo", 'study: "\\e[31mred"'))
    study.refused(2, ["params.yaml", "study"], "plan", "check")

"""Cases 61 to 64: parameters, the shell, DVC's cache, and text that pretends to be markup or a formula."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.qa.answering.answers import load_answers
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.files import read_tensors, write_tensors
from stages.qa.report import pages, tables
from stages.qa.scoring.curves import write_question
from tests.faults.launcher import ROOT
from tests.faults.study import Study

HOSTILE = [
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", '=cmd|" /C calc"!A0', "+1+1", "@SUM(A1)"),
    *("NA", "null", "nan", "", "two\nlines", "a\rb", "tab\there", '"quoted", and, commas', "1e5", "007"),
    *("| a | b |", "[x](javascript:alert(1))", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "`code` **bold** $x$"),
]


def test_case_61_values_of_params(study: Study) -> None:
    """3e-5 and 010 as YAML 1.2 has them; "3e-5", no, unknown and missing keys, -1, 0 epochs, bad files: named."""
    text = (study.root / "params.yaml").read_text()
    study.set(finetuned__tuned__learning_rate=None)
    null = (study.root / "params.yaml").read_text()
    assert null != text
    path = study.root / "params.yaml"
    for written, value in ("3e-5", 3e-5), ("1.0e-3", 1e-3), ("5", 5.0):
        path.write_text(one(null, written))
        assert load_params(path).finetuned["tuned"].learning_rate == value
        study.well("check")
    for written in '"3e-5"', "no", "-1", "0", ".nan", ".inf", "[1]", "!!python/object/apply:os.system [id]", "1_0x":
        path.write_text(one(null, written))
        study.refused(2, ["params.yaml: "], "check")
    path.write_text(text)
    study.set(finetuned__tuned__num_train_epochs=0)
    study.refused(2, ["finetuned.tuned.num_train_epochs", "greater than 0", "found 0"], *study.finetune())
    path.write_text(text.replace("max_query_length: 64", "max_query_length: 010"))
    assert load_params(path).windows.max_query_length == 10
    path.write_text(text.replace("max_query_length: 64", "max_query_lenght: 64"))
    study.refused(2, ["windows.max_query_length: Field required"], *study.predict("headed", False))
    path.write_text(text + "extra: 1\n")
    study.refused(2, ["extra: Extra inputs"], *study.evaluate())
    for content in b"", b"- a\n", b"\xff\xfe", b"a: [", b"a: &a [*a]\n", b"study: demo\nstudy: other\n":
        path.write_bytes(content)
        study.refused(2, ["params.yaml"], "check")
    path.unlink()
    study.refused(2, ["params.yaml: cannot be read"], "check")


def one(text: str, value: str) -> str:
    """The text with a value for the learning rate that is empty in it."""
    lines = text.splitlines(keepends=True)
    (place,) = [i for i, line in enumerate(lines) if line.strip() == "learning_rate:"]
    return "".join([*lines[:place], lines[place].rstrip() + f" {value}\n", *lines[place + 1 :]])


def dvc(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", ["datasets", "finetuned", "study"])
def test_case_62_shell(place: str, done: Study, tell: Callable[[str], None]) -> None:
    """A key or a name "x; touch PWNED #" in params.yaml, by `dvc repro` on the real dvc.yaml: no shell runs it."""
    odd, root = "x; touch PWNED #", done.root
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copytree(ROOT / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data/sample", root / "data/sample")
    assert dvc(root, "init", "--no-scm", "-q").returncode == 0
    params = YAML(typ="safe").load(root / "params.yaml")
    if place == "study":
        params["study"] = odd
        params["question"] = None
        target = "evaluate_head@headed"
    else:
        params[place] = {odd: next(iter(params[place].values()))} | params[place]
        target = ("dataset@" if place == "datasets" else "finetune@") + odd
    params["finetuned"].pop("headed")
    YAML().dump(params, root / "params.yaml")
    outcome = dvc(root, "repro", "-s", target)
    assert outcome.returncode != 0
    assert not (root / "PWNED").exists()
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: params.yaml: ")
    assert odd in line
    tell(line.removeprefix("error: ")[:120])


def test_case_63_damaged_cache_of_dvc(done: Study, tell: Callable[[str], None]) -> None:
    """A changed file in .dvc/cache with mode 0444, which DVC calls up to date; a changed output: `verify` names it."""
    root = done.root
    stage = "stages:\n  keep:\n    cmd: cp -r metrics kept && cp train.json kept.json\n"
    (root / "dvc.yaml").write_text(stage + "    deps: [train.json]\n    outs: [kept, kept.json]\n")
    assert dvc(root, "init", "--no-scm", "-q").returncode == 0
    assert dvc(root, "repro", "-q").returncode == 0
    assert "are what their checksums say; 0 are not here" in done.well("verify").out
    md5 = hashlib.md5((root / "train.json").read_bytes()).hexdigest()
    cached = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    data = cached.read_bytes()
    cached.chmod(0o644)
    cached.write_bytes(data[:-1] + b" ")
    cached.chmod(0o444)
    assert "up to date" in dvc(root, "status").stdout
    done.refused(3, [str(cached.relative_to(root)), "content is not what its checksum says"], "verify")
    cached.chmod(0o644)
    cached.write_bytes(data)
    done.well("verify")
    table = next((root / "kept").rglob("*.csv"))
    table.write_text(table.read_text() + "\n")
    done.refused(3, ["kept", "dvc repro makes it again"], "verify")
    shutil.rmtree(root / "kept")
    assert "1 are not here" in done.well("verify").out
    for content in "", "stages: 3", "a: [", "stages:\n  a:\n    outs: [{}]\n":
        (root / "dvc.lock").write_text(content)
        done.refused(3, ["dvc.lock: not a lock file of DVC"], "verify")
    tell("DVC: up to date; verify: exit 3, the file")


def test_case_64_text_is_inert(done: Study, tell: Callable[[str], None]) -> None:
    """Markup, formulas, NA, null, line ends, escapes as answers: exact in JSON and CSV, plain words in Markdown."""
    questions = []
    for number, text in enumerate(HOSTILE):
        context = f"They wrote {text} on the wall." if text.strip() else "They wrote nothing."
        answers = [{"text": text, "answer_start": 11}] if text.strip() else []
        qa = {"id": f"q{number}", "question": f"What? {text}", "answers": answers, "is_impossible": not answers}
        questions.append({"context": context, "qas": [qa]})
    done.squad({"version": "v2.0", "data": [{"title": "t", "paragraphs": questions}]})
    done.well(*done.predict())
    folder = done.root / "data/predictions/tiny/standard"
    header = json.loads((folder / "answers.json").read_text())
    row = [reading["kind"] for reading in header["readings"]].index("gold")
    for number, text in enumerate(HOSTILE):  # as if the encoder had said it: the gold reading keeps any text
        assert json.loads((folder / "gold.json").read_text())[f"q{number}"].strip() in text or not text
        header["texts"].append(text)
        plant(folder, row, number, len(header["texts"]) - 1)
    (folder / "answers.json").write_text(json.dumps(header))
    shown = {}
    examples, answers = read_squad(done.data / "dev.json", purpose="score"), {"standard": load_answers(folder)}
    for number, text in enumerate(HOSTILE):
        path = done.root / "metrics/demo/question/tiny.csv"
        write_question(path, "tiny", f"q{number}", examples, answers)
        with path.open(newline="", encoding="utf-8") as file:
            gold = [row for row in csv.DictReader(file) if (row["reading"], row["protocol"]) == ("gold", "standard")]
        (read,) = (row["answer"] for row in gold)
        frame = tables.read_question(path.parent, ["tiny"])
        (again,) = frame.loc[(frame["reading"] == "gold") & (frame["protocol"] == "standard"), "answer"]
        assert (read, again) == (text, text)
        shown[text] = pages.question_table(frame, "standard")
    done.set(question="q0")
    done.well(*done.evaluate())
    scores = json.loads((done.root / "data/scores/demo/tiny/standard/questions.json").read_text())
    assert set(scores["ids"]) == {f"q{n}" for n in range(len(HOSTILE))}
    for text, table in shown.items():
        assert "<" not in table, text
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1, text
        assert all(c == "\n" or c.isprintable() for c in table), text
    done.set(heads=[])
    done.well(*done.differences())
    done.well(*done.report())
    for path in (done.root / "plots/demo").glob("*.csv"):  # what `dvc plots show` puts into a page as it is
        allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.,\n")
        assert set(path.read_text()) <= allowed, path
    tell(f"{len(HOSTILE)} texts exact in CSV and JSON, inert in Markdown; plot data hold numbers and keys alone")


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
    line = study.refused(2, ["\\x1b[31mdev"], "qa.scoring", study.data / odd, "predictions.json")
    assert "\x1b" not in line
    study.set(question="\x1b[31mred")
    path = study.root / "params.yaml"
    path.write_text(path.read_text().replace("study: demo", 'study: "\\e[31mred"'))
    study.refused(2, ["params.yaml: study"], "check")

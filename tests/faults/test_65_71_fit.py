"""Cases 65 to 71: checkpoints and texts that do not fit together, found before anything is trained or answered."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from stages.qa.files import read_json
from stages.qa.models.manifest import write_manifest
from tests.faults.study import Study
from tests.faults.test_26_35_windows import squad


def edit(study: Study, name: str, **changes: Any) -> None:
    path = study.models / "tiny" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_manifest(study.models / "tiny", source="test")


def test_case_65_gold_answers_that_do_not_come_back(study: Study) -> None:
    """Answers that are parts of words: every stage stops, with three examples, unless guard allows it."""
    data = squad(*(("Who sang?", f"Ann{n} sang.", "n") for n in range(4)), ("Who sang?", "Bob sang.", "Bob"))
    says = ["of 5 gold answers do not come back", "q0: 'n' became '", "(guard in method.yaml: 0.99)"]
    for name in "train", "dev":
        study.squad(data, name)
    for command in study.finetune(), study.probe_train(), study.predict("headed", False):
        study.refused(2, [*says, "train.json" if command[0] != "predict" else "dev.json"], *command)
    study.set(guard=0.0)
    study.well(*study.predict("headed", False))
    gold = read_json(study.root / "data/predictions/headed/headed/model.json")["gold"]
    assert gold["questions"] == 5
    assert gold["came_back"] < 5


def test_case_66_marks_that_the_tokenizer_drops(done: Study) -> None:
    """Hindi and decomposed Latin under a vocabulary without accents: answered whole."""
    done.squad(squad(("कौन?", "यह हिन्दी में है ।", "हिन्दी"), ("Who?", "Zoe\u0308 met Rene\u0301 here.", "Rene\u0301")))
    done.well(*done.predict("headed", False))
    answers = read_json(done.root / "data/predictions/headed/headed/standard/gold.json")
    assert answers == {"q0": "हिन्दी", "q1": "Rene\u0301"}
    assert read_json(done.root / "data/predictions/headed/headed/model.json")["gold"] == {
        "questions": 2,
        "came_back": 2,
    }


def test_case_67_families_that_are_refused(study: Study) -> None:
    """A family whose question answering class attends otherwise, an encoder with a decoder: the model type is named."""
    for kind in "longformer", "bart":
        edit(study, "config.json", model_type=kind, attention_window=16)
        says = [f"data/models/tiny/config.json: model type {kind} is refused"]
        for command in study.finetune(), study.probe_train(), study.predict(probes=False):
            study.refused(2, says, *command)
        assert not list((study.root / "data/checkpoints").glob("*"))


def test_case_68_a_base_with_three_labels(study: Study) -> None:
    """Fine-tuned from a checkpoint whose configuration has the three labels of MNLI: the new head has two."""
    edit(study, "config.json", id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2})
    study.well(*study.finetune())
    assert "id2label" not in (config := read_json(study.models / "tuned/config.json")) or len(config["id2label"]) == 2


@pytest.mark.parametrize("question", ["\u200b\u200b", "\u200e"])
def test_case_69_questions_of_spaces(question: str, done: Study) -> None:
    """80 spaces before a question change nothing; a question of which nothing is left is named."""
    plain = squad(("Who sang?", "Ann sang.", "Ann"))
    found = []
    for text in "Who sang?", " " * 80 + "Who sang?\r\n":
        plain["data"][0]["paragraphs"][0]["qas"][0]["question"] = text
        done.squad(plain)
        done.well(*done.predict("headed", False))
        found.append((done.root / "data/predictions/headed/headed/standard/answers.safetensors").read_bytes())
    assert found[0] == found[1]
    plain["data"][0]["paragraphs"][0]["qas"][0]["question"] = question
    done.squad(plain)
    done.refused(2, ["question 'q0': none of its first", "is a visible character"], *done.predict("headed", False))


def test_case_70_one_training_article(study: Study, tell: Callable[[str], None]) -> None:
    """One training article: enough for a single l2, and named where several are to be chosen from."""
    study.set(optimizers=["adamw", "convex"])
    study.well(*study.probe_train())
    study.set(effort__convex__l2=[0.1, 1.0], effort__parts__validation_share=0.5)
    study.refused(2, ["none of the 1 training articles is for validation"], *study.probe_train("headed"))
    tell("a single l2 needs no other article")


def test_case_71_a_report_without_the_questions(done: Study) -> None:
    """The training questions are gone when the report is written."""
    (done.data / "train.json").unlink()
    done.refused(2, ["data/squad/sample/train.json: is missing; run the dataset stage again"], *done.report())

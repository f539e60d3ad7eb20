"""The vendored sample data: the committed bytes, its form, and that no short cut gives the answers away."""

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("sample_generate", SAMPLE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def splits(generator: ModuleType) -> dict[str, Any]:
    return dict(generator.generate())


def read(split: str) -> dict[str, Any]:
    return dict(json.loads((SAMPLE / f"{split}.json").read_text(encoding="ascii")))


def contexts(split: str) -> list[str]:
    return [paragraph["context"] for article in read(split)["data"] for paragraph in article["paragraphs"]]


def questions(split: str) -> list[tuple[dict[str, Any], str]]:
    """Every entry of `qas` with its context."""
    paragraphs = [paragraph for article in read(split)["data"] for paragraph in article["paragraphs"]]
    return [(qa, paragraph["context"]) for paragraph in paragraphs for qa in paragraph["qas"]]


def test_generator_gives_the_committed_bytes(generator: ModuleType, tmp_path: Path) -> None:
    generator.main([str(tmp_path)])
    for name in ("train.json", "dev.json"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name


@pytest.mark.parametrize(
    ("split", "n_questions", "n_articles"), [("train", 1500, 30), ("dev", 500, 12)], ids=["train", "dev"]
)
def test_size_and_share_of_unanswerable(split: str, n_questions: int, n_articles: int) -> None:
    squad = read(split)
    assert squad["version"] == "v2.0"
    assert len(squad["data"]) >= n_articles
    assert all(3 <= len(article["paragraphs"]) <= 8 for article in squad["data"])
    assert all(50 <= len(context.split()) <= 110 for context in contexts(split))
    entries = [qa for qa, _ in questions(split)]
    assert len(entries) >= n_questions
    assert 0.35 <= np.mean([qa["is_impossible"] for qa in entries]) <= 0.40


def test_both_files_together_stay_under_two_megabytes() -> None:
    assert sum((SAMPLE / name).stat().st_size for name in ("train.json", "dev.json")) < 2_000_000


@pytest.mark.parametrize("split", ["train", "dev"])
def test_every_answer_is_an_exact_slice(split: str) -> None:
    for qa, context in questions(split):
        golds, plausible = qa["answers"], qa.get("plausible_answers", [])
        assert bool(golds) is not qa["is_impossible"], qa["id"]
        assert bool(plausible) is qa["is_impossible"], qa["id"]
        for answer in golds + plausible:
            start = answer["answer_start"]
            assert answer["text"], qa["id"]
            assert context[start : start + len(answer["text"])] == answer["text"], qa["id"]


def test_the_first_gold_occurs_once_so_that_its_place_is_certain() -> None:
    for qa, context in questions("train") + questions("dev"):
        text = (qa["answers"] or qa["plausible_answers"])[0]["text"]
        assert len(re.findall(rf"\b{re.escape(text)}\b", context)) == 1, qa["id"]


def test_ids_are_unique_and_no_question_is_asked_twice_of_one_paragraph() -> None:
    both = questions("train") + questions("dev")
    assert len({qa["id"] for qa, _ in both}) == len(both)
    assert len({(qa["question"], context) for qa, context in both}) == len(both)


def test_some_dev_questions_have_several_golds_and_train_questions_one() -> None:
    assert {len(qa["answers"]) for qa, _ in questions("train")} == {0, 1}
    n_golds = Counter(len(qa["answers"]) for qa, _ in questions("dev"))
    assert n_golds[2] >= 100


def test_no_name_and_no_paragraph_in_both_splits(splits: dict[str, Any], generator: ModuleType) -> None:
    names = {split: splits[split].names for split in splits}
    assert not names["train"] & names["dev"]
    assert not set(contexts("train")) & set(contexts("dev"))
    # Without the generator's word for it: capitals inside a sentence are names or belong to a closed list.
    closed = set(generator.MONTHS + generator.BUILDINGS + generator.FESTIVALS + generator.BOOKS)
    closed |= {"Guild", "River", "Expedition", "Queen", "King", "Hills", "Forest", "Marshes", "Woods", "Valley"}
    closed |= {"Mountains"}
    capitals = {
        split: set(re.findall(r"(?<=[a-z0-9,] )[A-Z][a-z]+", " ".join(contexts(split)))) for split in ("train", "dev")
    }
    assert len(capitals["dev"]) > 200
    assert capitals["train"] & capitals["dev"] <= closed


@pytest.mark.parametrize("kinds", ["vf", "q"], ids=["sentences", "questions"])
def test_a_good_part_of_dev_frames_is_unseen_in_train(splits: dict[str, Any], kinds: str) -> None:
    train, dev = splits["train"].frames, splits["dev"].frames
    uses = {frame: count for frame, count in dev.items() if frame[2] in kinds}
    unseen = {frame: count for frame, count in uses.items() if frame not in train}
    assert 0.35 <= len(unseen) / len(uses) <= 0.5
    assert 0.35 <= sum(unseen.values()) / sum(uses.values()) <= 0.5


def question_only_auc(marker: str = "") -> float:
    """Area under the ROC curve of a bag of words of the question alone, trained on train and tested on dev.

    `marker` is a word put into every question without an answer: what the measure says when there is a leak.
    """
    texts, labels = {}, {}
    for split in ("train", "dev"):
        entries = [qa for qa, _ in questions(split)]
        labels[split] = [qa["is_impossible"] for qa in entries]
        texts[split] = [qa["question"] + f" {marker}" * qa["is_impossible"] for qa in entries]
    bag = CountVectorizer(ngram_range=(1, 2), min_df=2)
    model = LogisticRegression(C=0.3, max_iter=1000).fit(bag.fit_transform(texts["train"]), labels["train"])
    return float(roc_auc_score(labels["dev"], model.predict_proba(bag.transform(texts["dev"]))[:, 1]))


def test_the_question_alone_does_not_tell_whether_it_can_be_answered() -> None:
    assert abs(question_only_auc() - 0.5) < 0.06
    assert question_only_auc(marker="leak") > 0.95


def test_the_type_of_the_answer_does_not_give_it_away() -> None:
    """Most paragraphs hold several years, so `When ...?` alone is not enough; likewise for people."""
    for pattern, question in ((r"\b1\d{3}\b", r"(When|In what year|In which year) "), (r"[A-Z]\w+ [A-Z]\w+", r"Who ")):
        n_candidates = [
            len(set(re.findall(pattern, context)))
            for qa, context in questions("dev")
            if re.match(question, qa["question"]) and not qa["is_impossible"]
        ]
        assert len(n_candidates) > 50
        assert np.mean([n >= 2 for n in n_candidates]) > 0.75


def test_answers_are_spread_over_the_paragraph() -> None:
    places = [qa["answers"][0]["answer_start"] / len(context) for qa, context in questions("dev") if qa["answers"]]
    histogram, _ = np.histogram(places, bins=4, range=(0, 1))
    assert histogram.min() > 0.15 * len(places)

"""Disjoint parts share no article and leave none out."""

import pytest

from stages.qa.data.splits import training_part
from stages.qa.data.squad import Example
from stages.qa.errors import InputError


@pytest.mark.parametrize("share", [0.1, 0.5, 2 / 3, 0.9])
def test_parts_are_disjoint_and_complete(sample: list[Example], share: float) -> None:
    parts = [training_part(iter(sample), part, split="disjoint", share=share) for part in ("finetuning", "probing")]
    tuning, probing = map(list, parts)
    articles = [{example.article for example in part} for part in (tuning, probing)]
    assert not articles[0] & articles[1]
    assert sorted([*tuning, *probing], key=lambda e: e.id) == sorted(sample, key=lambda e: e.id)
    assert len(articles[0]) == pytest.approx(share * len({e.article for e in sample}), abs=1)


def test_same_is_everything(sample: list[Example]) -> None:
    assert list(training_part(sample, "probing", split="same", share=0.5)) == sample
    assert list(training_part(sample, "finetuning", split="same", share=0.5)) == sample


def test_one_article_cannot_be_split(sample: list[Example]) -> None:
    one = [example for example in sample if example.article == 0]
    with pytest.raises(InputError, match="no article for finetuning, of 1"):
        list(training_part(one, "finetuning", split="disjoint", share=0.5))

"""Disjoint parts share no article and leave none out; even distances."""

import pytest

from stages.qa.data.splits import evenly_spread, training_part
from stages.qa.data.squad import Example
from stages.qa.errors import InputError


@pytest.mark.parametrize("share", [0.1, 0.5, 2 / 3, 0.9])
def test_parts_are_disjoint_and_complete(sample: list[Example], share: float) -> None:
    tuning = training_part(sample, "finetuning", split="disjoint", share=share)
    probing = training_part(sample, "probing", split="disjoint", share=share)
    articles = [{example.article for example in part} for part in (tuning, probing)]
    assert not articles[0] & articles[1]
    assert sorted([*tuning, *probing], key=lambda e: e.id) == sorted(sample, key=lambda e: e.id)
    assert len(articles[0]) == pytest.approx(share * len({e.article for e in sample}), abs=1)


def test_same_is_everything(sample: list[Example]) -> None:
    assert training_part(sample, "probing", split="same", share=0.5) == sample
    assert training_part(sample, "finetuning", split="same", share=0.5) == sample


def test_one_article_cannot_be_split(sample: list[Example]) -> None:
    one = [example for example in sample if example.article == 0]
    with pytest.raises(InputError, match="no article for finetuning, of 1"):
        training_part(one, "finetuning", split="disjoint", share=0.5)


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(10, 3, [0, 3, 6]), (3, 10, [0, 1, 2]), (7, 7, list(range(7)))]
)
def test_indices_at_even_distances(total: int, count: int, expected: list[int]) -> None:
    assert evenly_spread(total, count).tolist() == expected


def test_none_of_nothing() -> None:
    assert evenly_spread(0, 5).tolist() == []
    assert evenly_spread(5, 0).tolist() == []

"""Disjoint parts share no article and leave none out; even distances."""

import pytest

from stages.qa.data.splits import evenly_spread, training_part
from stages.qa.data.squad import Example
from stages.qa.errors import InputError


def articles_of(examples: list[Example]) -> set[int]:
    return {example.article for example in examples}


@pytest.mark.parametrize("share", [0.1, 0.5, 2 / 3, 0.9])
def test_parts_are_disjoint_and_complete(sample: list[Example], share: float) -> None:
    settings = {"validation_share": 0.2, "split": "disjoint", "finetuning_share": share}
    tuning, probing, validation = (
        training_part(sample, part, **settings) for part in ("finetuning", "probing", "validation")
    )
    assert sorted([*tuning, *probing, *validation], key=lambda e: e.id) == sorted(sample, key=lambda e: e.id)
    assert not articles_of(tuning) & articles_of(probing)
    assert not articles_of([*tuning, *probing]) & articles_of(validation)
    total = len(articles_of(sample))
    assert len(articles_of(validation)) == int(0.2 * total)
    assert len(articles_of(tuning)) == pytest.approx(share * (total - int(0.2 * total)), abs=1)


def test_same_is_everything_but_validation(sample: list[Example]) -> None:
    for part in ("probing", "finetuning"):
        assert training_part(sample, part, validation_share=0.0, split="same", finetuning_share=0.5) == sample
    parts = [
        training_part(sample, part, validation_share=0.3, split="same", finetuning_share=0.5)
        for part in ("probing", "finetuning", "validation")
    ]
    assert parts[0] == parts[1]
    assert len(parts[1]) + len(parts[2]) == len(sample)


def test_one_article_cannot_be_split(sample: list[Example]) -> None:
    one = [example for example in sample if example.article == 0]
    with pytest.raises(InputError, match="none of the 1 training articles is for finetuning"):
        training_part(one, "finetuning", validation_share=0.0, split="disjoint", finetuning_share=0.5)
    with pytest.raises(InputError, match="none of the 1 training articles is for validation"):
        training_part(one, "validation", validation_share=0.1, split="same", finetuning_share=0.5)


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(10, 3, [0, 3, 6]), (3, 10, [0, 1, 2]), (7, 7, list(range(7)))]
)
def test_indices_at_even_distances(total: int, count: int, expected: list[int]) -> None:
    assert evenly_spread(total, count).tolist() == expected


def test_none_of_nothing() -> None:
    assert evenly_spread(0, 5).tolist() == []
    assert evenly_spread(5, 0).tolist() == []

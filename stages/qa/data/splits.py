"""Parts of the training articles: for fine-tuning, for probes, for validation; and things at even distances."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stages.qa.data.squad import Example
from stages.qa.errors import InputError


def training_part(
    examples: Sequence[Example],
    part: Literal["finetuning", "probing", "validation"],
    *,
    validation_share: float,
    split: Literal["same", "disjoint"],
    finetuning_share: float,
) -> list[Example]:
    """The training questions of one part.

    A share of the articles is for validation, and no other part learns from it. Under "same" the other parts are all of
    the rest: probes may then read what the encoder memorised of the very questions that it was fine-tuned on. Under
    "disjoint" a share of the rest is for fine-tuning and what is left is for the probes. Shares are of the articles,
    evenly spread over the file. InputError if the part has no article.
    """
    articles = list(dict.fromkeys(example.article for example in examples))
    validation = _share(articles, validation_share)
    rest = [article for article in articles if article not in validation]
    finetuning = set(rest) if split == "same" else _share(rest, finetuning_share)
    probing = set(rest) if split == "same" else set(rest) - finetuning
    chosen = {"finetuning": finetuning, "probing": probing, "validation": validation}[part]
    if not chosen:
        raise InputError(
            f"parts: none of the {len(articles)} training articles is for {part}; take more articles or another share"
        )
    return [example for example in examples if example.article in chosen]


def _share(articles: Sequence[int], share: float) -> set[int]:
    """A share of the articles, evenly spread."""
    return {article for place, article in enumerate(articles) if int((place + 1) * share) > int(place * share)}


def evenly_spread(total: int, count: int) -> np.ndarray:
    """The indices of `count` of `total` things at even distances, (count,) int64; of all things if count is higher."""
    count = min(count, total)
    return np.arange(count) * total // count

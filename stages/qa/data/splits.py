"""Parts of the data: which articles fine-tuning learns from and which the probes, and questions at even distances."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from stages.qa.data.squad import Example
from stages.qa.errors import InputError


def training_part(
    examples: Iterable[Example],
    part: Literal["finetuning", "probing"],
    *,
    split: Literal["same", "disjoint"],
    share: float,
) -> list[Example]:
    """The training questions of one part.

    Under "same" both parts are all questions. Probes may then read what the encoder memorised of the very questions
    that it was fine-tuned on. Under "disjoint" a `share` of the articles, evenly spread over the file, is for
    fine-tuning and the rest is for the probes, so only what carries over to other articles is left. InputError if the
    part has no article.
    """
    if split == "same":
        return list(examples)
    places: dict[int, int] = {}  # article -> its place among the articles
    chosen = []
    for example in examples:
        place = places.setdefault(example.article, len(places))
        is_for_finetuning = int((place + 1) * share) > int(place * share)
        if is_for_finetuning == (part == "finetuning"):
            chosen.append(example)
    if not chosen:
        raise InputError(
            f"probe.finetuning_share {share:g}: leaves no article for {part}, of {len(places)}; split disjoint needs "
            "more training articles or another share"
        )
    return chosen


def evenly_spread(total: int, count: int) -> np.ndarray:
    """The indices of `count` of `total` things at even distances, (count,) int64; of all things if count is higher."""
    count = min(count, total)
    return np.arange(count) * total // count

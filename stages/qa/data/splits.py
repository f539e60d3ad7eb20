"""Which training articles fine-tuning learns from and which the probes: the same, or disjoint ones.

Probes trained on the very questions that the encoder was fine-tuned on may read what it memorised of them. Disjoint
articles leave only what carries over.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from stages.qa.data.squad import Example
from stages.qa.errors import InputError


def training_part(
    examples: Iterable[Example],
    part: Literal["finetuning", "probing"],
    *,
    split: Literal["same", "disjoint"],
    share: float,
) -> Iterator[Example]:
    """The training questions of one part. `share`: of the articles for fine-tuning, evenly spread over the file.

    Under "same" both parts are all questions. InputError, at the end, if a part would have no article.
    """
    places: dict[int, int] = {}
    empty = True
    for example in examples:
        place = places.setdefault(example.article, len(places))
        tunes = int((place + 1) * share) > int(place * share)
        if split == "same" or tunes == (part == "finetuning"):
            empty = False
            yield example
    if empty:
        raise InputError(
            f"probe.finetuning_share {share:g}: leaves no article for {part}, of {len(places)}; split disjoint needs "
            "more training articles or another share"
        )

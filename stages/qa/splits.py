"""Which training articles fine-tuning learns from and which the probes: the same, or disjoint ones.

Probes trained on the very questions that the encoder was fine-tuned on may read what it memorised of them. Disjoint
articles leave only what carries over.
"""

from collections.abc import Sequence
from typing import Literal

from stages.qa.errors import InputError
from stages.qa.squad import Example


def training_part(
    examples: Sequence[Example],
    part: Literal["finetuning", "probing"],
    *,
    split: Literal["same", "disjoint"],
    share: float,
) -> list[Example]:
    """The training questions of one part. `share`: of the articles for fine-tuning, evenly spread over the file.

    Under "same" both parts are all questions. InputError if a part would have no article.
    """
    if split == "same":
        return list(examples)
    places = {article: place for place, article in enumerate(dict.fromkeys(e.article for e in examples))}
    chosen = {a for a, place in places.items() if int((place + 1) * share) > int(place * share)}
    kept = [example for example in examples if (example.article in chosen) == (part == "finetuning")]
    if not kept:
        raise InputError(
            f"probe.finetuning_share {share:g}: leaves no article for {part}, of {len(places)}; split disjoint needs "
            "more training articles or another share"
        )
    return kept

"""Controls of a probe: the same probe on a task that the layer should not help with.

Selectivity of a layer is the probe's score on the task minus its score on the control (Hewitt and Liang 2019). The
controls: the question shuffled among paragraphs, or removed (what can be read from the context alone?); the gold span
replaced by a random one of as many tokens (what do chance and the share of "no answer" give? module `random_spans`);
and position alone (module `position`).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby

import numpy as np

from stages.qa.data.squad import Example
from stages.qa.encoding.features import Features
from stages.qa.errors import InputError


def evenly_spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the questions, at even distances."""
    if count >= len(examples):
        return list(examples)
    return [examples[place * len(examples) // count] for place in range(count)]


def shuffled_questions(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """Each question's place is taken by that of another paragraph; contexts and answers stay.

    Every question is used once. InputError if one paragraph has more than half of the questions.
    """
    blocks = [list(block) for _, block in groupby(range(len(examples)), key=lambda i: examples[i].paragraph)]
    order = [i for place in np.random.default_rng(seed).permutation(len(blocks)) for i in blocks[place]]
    step = max(map(len, blocks))  # along `order`, each step of so many leads out of the paragraph
    if 2 * step > len(order):
        raise InputError(f"questions cannot be shuffled among paragraphs: one has {step} of {len(order)}; take more")
    given = {i: examples[order[(place + step) % len(order)]].question for place, i in enumerate(order)}
    return [replace(example, question=given[i]) for i, example in enumerate(examples)]


def without_questions(examples: Sequence[Example]) -> list[Example]:
    """The same with an empty question."""
    return [replace(example, question="") for example in examples]


def retargeted(features: Features, targets: np.ndarray) -> Features:
    """`features` with other targets (windows, 2); hidden states that are kept in memory are shared, not recomputed."""
    other = copy(features)
    other.windows = replace(features.windows, targets=targets)
    return other

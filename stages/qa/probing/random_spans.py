"""Random labels: each gold span replaced by another of the same length, which no hidden state can tell.

The control task of Hewitt and Liang (2019) for spans, but that theirs gives a word the same label wherever it stands,
so that a probe can learn it by heart, word by word; here it can only be learned by heart question by question.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import IGNORED, NO_ANSWER, Windows


def random_spans(windows: Windows, *, doc_stride: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each answer a span of as many tokens, drawn evenly from the same context.

    `windows` were made with `doc_stride`. Returns targets (windows, 2) int64 in place of windows.targets, and the
    characters of each span, (questions, 2) int64. Questions without an answer, or whose answer no window holds whole,
    keep their targets and have the characters (-1, -1).
    """
    draws = np.random.default_rng(seed).random(int(windows.examples[-1]) + 1)
    targets, chars = np.array(windows.targets), np.full((len(draws), 2), -1)
    for question, rows in groupby(range(len(windows)), key=lambda row: int(windows.examples[row])):
        own = list(rows)
        gold = [windows.targets[row] for row in own if windows.targets[row, 0] not in (NO_ANSWER, IGNORED)]
        if not gold:
            continue
        length = int(gold[0][1] - gold[0][0]) + 1
        heads, ends = windows.context[own].T
        befores = doc_stride * np.arange(len(own))  # context tokens before each window
        first = int(draws[question] * (befores[-1] + ends[-1] - heads[-1] - length + 1))
        last = first + length - 1
        inside = (first >= befores) & (last < befores + ends - heads)
        places = heads - befores
        targets[own] = np.where(inside[:, None], [(first + p, last + p) for p in places], NO_ANSWER)
        start, end = (_characters(windows, own, places, ends, token) for token in (first, last))
        chars[question] = start[0], end[1]
    return targets, chars


def with_answers(examples: Sequence[Example], chars: np.ndarray) -> list[Example]:
    """`examples` with the slice at their `chars` as the one answer, which may begin or end inside a word."""
    return [
        replace(example, answers=(Answer(example.context[start:end], start),)) if start >= 0 else example
        for example, (start, end) in zip(examples, chars.tolist(), strict=True)
    ]


def _characters(windows: Windows, own: list[int], places: np.ndarray, ends: np.ndarray, token: int) -> tuple[int, int]:
    """Characters of a context token, from the first of a question's windows that holds it."""
    row = next(i for i, place in enumerate(places) if token + place < ends[i])
    first, end = windows.offsets[windows.starts[own[row]] + token + places[row]].tolist()
    return first, end

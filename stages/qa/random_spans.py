"""Random labels: each gold span replaced by another of the same length, which no hidden state can tell.

The control task of Hewitt and Liang (2019) for spans, but that theirs gives a word the same label wherever it stands,
so that a probe can learn it by heart, word by word; here it can only be learned by heart question by question.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from stages.qa.squad import Answer, Example
from stages.qa.windows import IGNORED, NO_ANSWER, Windows


def random_spans(
    examples: Sequence[Example], windows: Windows, *, doc_stride: int, seed: int
) -> tuple[list[Example], np.ndarray]:
    """Each answer replaced by a span of as many tokens, drawn evenly from the same context; and the windows' targets.

    `windows` are those of `examples`, made with `doc_stride`. Returns questions with that one answer (as a slice of the
    context, which may begin or end inside a word), and targets (windows, 2) int64 in place of windows.targets.
    Questions without an answer, or whose answer no window holds whole, keep what they have.
    """
    draws = np.random.default_rng(seed).random(len(examples))
    replaced, targets = list(examples), windows.targets.copy()
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
        text = examples[question].context[start[0] : end[1]]
        replaced[question] = replace(examples[question], answers=(Answer(text, start[0]),))
    return replaced, targets


def _characters(windows: Windows, own: list[int], places: np.ndarray, ends: np.ndarray, token: int) -> tuple[int, int]:
    """Characters of a context token, from the first of a question's windows that holds it."""
    row = next(i for i, place in enumerate(places) if token + place < ends[i])
    first, end = windows.offsets[windows.starts[own[row]] + token + places[row]].tolist()
    return first, end

"""The ceiling of a protocol: what a reader that knows the gold answers can score under its span limit and decoding."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from stages.qa.answering.spans import question_rows
from stages.qa.data.squad import Example
from stages.qa.data.text import normalise
from stages.qa.data.windows import Windows, touching
from stages.qa.metric import token_f1

AROUND = 2  # tokens before and after a gold answer that its best span may hold: decoding may need them
TextOf = Callable[[int, int, int], str]  # question, first and last token as places in input_ids -> text


def best_gold_spans(
    examples: Sequence[Example], windows: Windows, text_of: TextOf, *, max_answer_tokens: int
) -> np.ndarray:
    """First and last token of the span of the highest F1, (questions, 2) int64: places in input_ids; -1 for none.

    All gold answers count. Of one that is too long, or that decoding spoils, the best part counts.
    """
    result = np.full((len(examples), 2), -1, dtype=np.int64)
    for question, (example, rows) in enumerate(zip(examples, question_rows(windows, len(examples)), strict=True)):
        golds = {normalise(answer.text) for answer in example.answers} - {""}
        best = 0.0
        for first, last in _candidates(example, windows, rows, max_answer_tokens):
            text = normalise(text_of(question, first, last))
            score = max((1.0 if text == gold else token_f1(gold, text) for gold in golds), default=0.0)
            if score > best:
                best = score
                result[question] = first, last
            if best == 1:
                break
    return result


def _candidates(example: Example, windows: Windows, rows: slice, most: int) -> Iterator[tuple[int, int]]:
    """The spans of the gold answers, then all spans of at most `most` tokens in and around them."""
    golds = []
    for row in range(rows.start, rows.stop):
        start, (low, high) = int(windows.starts[row]), windows.context[row].tolist()
        offsets = windows.offsets[start : windows.starts[row + 1]]
        for answer in dict.fromkeys(example.answers):
            touched = touching(offsets, answer.start, answer.start + len(answer.text))
            if len(touched):
                first, last = int(touched[0]), int(touched[-1])
                golds.append((start, first, last, max(first - AROUND, low), min(last + AROUND + 1, high)))
    for start, first, last, _, _ in golds:
        if last - first < most:
            yield start + first, start + last
    for start, _, _, low, high in golds:
        for first in range(low, high):
            for last in range(first, min(first + most, high)):
                yield start + first, start + last

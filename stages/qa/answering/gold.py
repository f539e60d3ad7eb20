"""The gold answers of a question: how likely a reading holds them, and what a reader that knows them can score.

Likelihood: docs/statistics.md defines it (marginal, after Clark and Gardner 2018). The ceiling of a protocol is the
best score under its span limit and decoding.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stages.qa.data.squad import Answer, Example
from stages.qa.data.text import normalise
from stages.qa.data.windows import IGNORED, Windows, question_rows, touching
from stages.qa.metric import token_f1
from stages.qa.probing.probes import target_log_probabilities

AROUND = 2  # tokens before and after a gold answer that its best span may hold: decoding may need them
TextOf = Callable[[int, int, int], str]  # question, first and last token as places in input_ids -> text
Parts = dict[int, tuple[int, int]]  # window -> first and last token of an answer in it, as positions in the window


class GoldLikelihood:
    """Reads packed logits window by window, and then averages the windows of each question."""

    def __init__(self, windows: Windows, examples: Sequence[Example], readings: int) -> None:
        self.lengths = windows.lengths
        self.questions = question_rows(windows, len(examples))
        self.gold = gold_tokens(windows, examples)
        self.nll = np.full((readings, len(windows), 2), np.nan, np.float32)

    def read(self, rows: np.ndarray, logits: Tensor) -> None:
        """Score the windows `rows`; logits (readings, tokens, 2) hold them one after the other."""
        gold = torch.from_numpy(self.gold[rows]).to(logits.device)
        lengths = torch.from_numpy(self.lengths[rows]).to(logits.device)
        log_probabilities = target_log_probabilities(logits, lengths, gold)
        nll = -log_probabilities.clamp(max=0)  # rounding may leave a probability just above 1
        without_gold = (gold == IGNORED).all(dim=1)  # (windows, 2)
        self.nll[:, rows] = nll.masked_fill(without_gold, torch.nan).cpu().numpy()

    def of_questions(self) -> np.ndarray:
        """Start and end, (readings, questions, 2) float32, nats; NaN if labels are hidden or no answer has a token."""
        result = np.full((len(self.nll), len(self.questions), 2), np.nan, np.float32)
        for question, rows in enumerate(self.questions):
            result[:, question] = self.nll[:, rows].mean(axis=1, dtype=np.float64)
        return result


def gold_tokens(windows: Windows, examples: Sequence[Example]) -> np.ndarray:
    """First and last gold tokens of each window, (windows, tokens, 2) int64: positions in the window, in rising order.

    A window that holds no gold answer whole has its [CLS]. IGNORED fills up one that has fewer tokens than another. The
    windows of a question have none at all if its labels are hidden, or if it has answers of which none has a token.
    """
    most = max((len(example.answers) for example in examples), default=0)
    result = np.full((len(windows), max(most, 1), 2), IGNORED, dtype=np.int64)
    for example, rows in zip(examples, question_rows(windows, len(examples)), strict=True):
        if example.is_impossible is None:
            continue
        parts = [part for part in (_parts(windows, rows, answer) for answer in set(example.answers)) if part]
        if example.answers and not parts:
            continue
        whole = [_whole(windows, part) for part in parts]
        for row in range(rows.start, rows.stop):
            spans = [held[row] for held in whole if row in held] or [(int(windows.null[row]),) * 2]
            firsts = sorted({first for first, _ in spans})
            lasts = sorted({last for _, last in spans})
            result[row, : len(firsts), 0] = firsts
            result[row, : len(lasts), 1] = lasts
    return result


def _parts(windows: Windows, rows: slice, answer: Answer) -> Parts:
    """What each of a question's windows has of the answer, but for those that have no token of it."""
    parts = {}
    for row in range(rows.start, rows.stop):
        offsets = windows.offsets[windows.starts[row] : windows.starts[row + 1]]
        tokens = touching(offsets, answer.start, answer.start + len(answer.text))
        if len(tokens):
            parts[row] = int(tokens[0]), int(tokens[-1])
    return parts


def _whole(windows: Windows, parts: Parts) -> Parts:
    """Those parts of an answer that have as much of it as all of them together."""
    chars = {}
    for row, (first, last) in parts.items():
        offsets = windows.offsets[windows.starts[row] :]
        chars[row] = int(offsets[first, 0]), int(offsets[last, 1])
    whole = min(first for first, _ in chars.values()), max(end for _, end in chars.values())
    return {row: span for row, span in parts.items() if chars[row] == whole}


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
    parts = [_parts(windows, rows, answer) for answer in dict.fromkeys(example.answers)]
    golds = [(row, part[row]) for row in range(rows.start, rows.stop) for part in parts if row in part]
    for row, (first, last) in golds:
        if last - first < most:
            yield int(windows.starts[row]) + first, int(windows.starts[row]) + last
    for row, (gold_first, gold_last) in golds:
        start, (low, high) = int(windows.starts[row]), windows.context[row].tolist()
        high = min(gold_last + AROUND + 1, high)
        for first in range(max(gold_first - AROUND, low), high):
            for last in range(first, min(first + most, high)):
                yield start + first, start + last

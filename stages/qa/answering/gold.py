"""The gold answers of a question: how likely a reading holds them, and what a reader that knows them can score.

Likelihood: docs/statistics.md defines it (marginal, after Clark and Gardner 2018). The ceiling of a protocol is the
best score under its span limit and decoding.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stages.qa.data.squad import Example
from stages.qa.data.text import normalise
from stages.qa.data.windows import IGNORED, Windows, question_rows, touching
from stages.qa.metric import token_f1
from stages.qa.probing.probes import target_log_probabilities

AROUND = 2  # tokens before and after a gold answer that its best span may hold: decoding may need them
TextOf = Callable[[int, int, int], str]  # question, first and last token as places in input_ids -> text


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
        chars = {(answer.start, answer.start + len(answer.text)) for answer in example.answers}
        with_tokens = [held for held in (_held_whole(windows, rows, *span) for span in chars) if held is not None]
        if chars and not with_tokens:
            continue
        for row in range(rows.start, rows.stop):
            spans = [held[row] for held in with_tokens if row in held] or [(int(windows.null[row]),) * 2]
            firsts = sorted({first for first, _ in spans})
            lasts = sorted({last for _, last in spans})
            result[row, : len(firsts), 0] = firsts
            result[row, : len(lasts), 1] = lasts
    return result


def _held_whole(windows: Windows, rows: slice, start: int, end: int) -> dict[int, tuple[int, int]] | None:
    """First and last token of the answer `start` to `end` in each of a question's windows that holds it whole.

    A window holds it whole if it has as much of it as all windows together. None if no window has a token of it.
    """
    tokens: dict[int, tuple[int, int]] = {}
    chars: dict[int, tuple[int, int]] = {}
    for row in range(rows.start, rows.stop):
        offsets = windows.offsets[windows.starts[row] : windows.starts[row + 1]]
        touched = touching(offsets, start, end)
        if len(touched):
            first, last = int(touched[0]), int(touched[-1])
            tokens[row] = first, last
            chars[row] = int(offsets[first, 0]), int(offsets[last, 1])
    if not tokens:
        return None
    whole = min(first for first, _ in chars.values()), max(last for _, last in chars.values())
    return {row: span for row, span in tokens.items() if chars[row] == whole}


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

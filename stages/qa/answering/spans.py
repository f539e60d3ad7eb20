"""Start and end logits as answers: the best span of each window, and one answer for each question."""

import unicodedata
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from stages.qa.answering.answers import Spans
from stages.qa.data.windows import Windows
from stages.qa.scratch import filled

Merge = Literal["official", "highest"]
BLOCK = 1000  # questions whose windows are merged at once


def best_spans(start: Tensor, end: Tensor, *, max_answer_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """First token, last token and score of the best span of at most `max_answer_tokens` in each row.

    start, end (..., tokens): logits, -inf where no answer may be. Among equal scores the later start wins, then the
    earlier end, as in the original study. A row of -inf gives the score -inf.
    """
    shape, tokens = start.shape[:-1], start.shape[-1]
    start, end = start.reshape(-1, tokens), end.reshape(-1, tokens)
    reach = pad(end, (0, max_answer_tokens - 1), value=-torch.inf)
    best_end = max_pool1d(reach[:, None], max_answer_tokens, stride=1)[:, 0]  # best end logit for each start
    total = start + best_end
    first = tokens - 1 - total.flip(-1).argmax(-1)  # argmax returns the first of equal maxima
    score = total.gather(-1, first[:, None])[:, 0]
    ends = reach.gather(-1, first[:, None] + torch.arange(max_answer_tokens, device=reach.device))
    last = first + ends.argmax(-1)
    return first.reshape(shape), last.reshape(shape), score.reshape(shape)


class SpanReader:
    """Reads packed logits window by window, and then merges the windows of each question by its index.

    `merge` "official", as in BERT's own evaluation: the best span of all windows stands against the lowest null score.
    "highest", as in the original study: each window answers or does not, and the window with the highest score decides,
    the first of equals. (The original took neighbouring windows with equal question text for one question; on its data
    that never joins two questions, so windows are told apart by question here too.)
    """

    def __init__(self, windows: Windows, readings: int, *, max_answer_tokens: int, merge: Merge = "official") -> None:
        self.windows = windows
        self.merge = merge
        self.max_answer_tokens = max_answer_tokens
        count = len(windows)
        self.tokens = filled((readings, count, 2), 0, np.int32)  # of the window's best span
        self.score = filled((readings, count), -np.inf, np.float32)
        self.null_score = filled((readings, count), np.inf, np.float32)
        self.arrays = self.tokens, self.score, self.null_score

    def read(self, rows: np.ndarray, logits: Tensor) -> None:
        """logits (readings, tokens, 2): start and end logits of the windows `rows`, packed in their order."""
        lengths = torch.from_numpy(self.windows.lengths[rows])
        context = torch.from_numpy(self.windows.context[rows]).to(logits.device)
        position = torch.arange(int(lengths.max()))
        real = (position < lengths[:, None]).to(logits.device)
        inside = (position.to(logits.device) >= context[:, :1]) & (position.to(logits.device) < context[:, 1:])
        padded = logits.new_full((len(logits), *real.shape, 2), -torch.inf)
        padded[:, real] = logits
        null_score = padded[:, :, 0].sum(-1)
        padded = padded.masked_fill(~inside[None, :, :, None], -torch.inf)
        first, last, score = best_spans(padded[..., 0], padded[..., 1], max_answer_tokens=self.max_answer_tokens)
        self.tokens[:, rows] = torch.stack([first, last], dim=-1).cpu().numpy()
        self.score[:, rows] = score.cpu().numpy()
        self.null_score[:, rows] = null_score.cpu().numpy()

    def spans(self, contexts: list[str]) -> Spans:
        """One span for each question; `contexts` are the questions' contexts, in the order of the questions."""
        size = len(self.score), len(contexts)
        found = Spans(
            chars=filled((*size, 2), -1, np.int32),
            tokens=filled((*size, 2), 0, np.int64),
            score=filled(size, -np.inf, np.float32),
            null_score=filled(size, np.inf, np.float32),
        )
        for first in range(0, len(contexts), BLOCK):
            self._merge(contexts[first : first + BLOCK], first, found)
        return found

    def _merge(self, contexts: list[str], first: int, found: Spans) -> None:
        """Fill in the spans of the questions from `first` on, whose contexts these are."""
        questions = slice(first, first + len(contexts))
        begin, end = np.searchsorted(self.windows.examples, [questions.start, questions.stop])
        owner = self.windows.examples[begin:end] - first
        score, null_score = self.score[:, begin:end], self.null_score[:, begin:end]
        rank = score if self.merge == "official" else np.maximum(score, null_score)
        best_window = np.zeros((len(score), len(contexts)), dtype=np.int64)  # counted from `begin`
        best_window[:] = np.flatnonzero(np.diff(owner, prepend=-1))
        best_rank = np.full(best_window.shape, -np.inf, dtype=np.float32)
        lowest_null = np.full(best_window.shape, np.inf, dtype=np.float32)
        for window, question in enumerate(owner):
            better = rank[:, window] > best_rank[:, question]
            best_window[better, question] = window
            best_rank[better, question] = rank[better, window]
            lowest_null[:, question] = np.minimum(lowest_null[:, question], null_score[:, window])
        found.score[:, questions] = np.take_along_axis(score, best_window, axis=1)
        found.null_score[:, questions] = (
            lowest_null if self.merge == "official" else np.take_along_axis(null_score, best_window, axis=1)
        )
        there = found.score[:, questions] > -np.inf
        tokens = np.take_along_axis(self.tokens[:, begin:end], best_window[:, :, None], axis=1) * there[:, :, None]
        tokens = tokens + self.windows.starts[begin + best_window][:, :, None]
        offsets = self.windows.offsets
        chars = np.stack([offsets[tokens[..., 0], 0], offsets[tokens[..., 1], 1]], axis=-1)
        chars[~there] = -1
        for question, context in enumerate(contexts):
            chars[:, question, 1] = [_over_marks(context, end) for end in chars[:, question, 1].tolist()]
        found.chars[:, questions], found.tokens[:, questions] = chars, tokens


def _over_marks(context: str, end: int) -> int:
    """`end`, moved past combining marks: tokenizers that strip accents leave them out of a token's offsets."""
    while 0 < end < len(context) and unicodedata.combining(context[end]):
        end += 1
    return end

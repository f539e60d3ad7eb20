"""Start and end logits as answers: the best span of each window, and one answer for each question."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from stages.qa.answering.answers import Spans
from stages.qa.data.windows import Windows, question_rows
from stages.qa.probing.probes import padded_windows


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
    """Reads packed logits window by window, and then merges the windows of each question by its index."""

    def __init__(self, windows: Windows, readings: int, *, max_answer_tokens: int) -> None:
        self.windows = windows
        self.max_answer_tokens = max_answer_tokens
        size = readings, len(windows)
        self.tokens = np.zeros((*size, 2), np.int32)  # of the window's best span
        self.score = np.full(size, -np.inf, np.float32)
        self.null_score = np.full(size, np.inf, np.float32)
        self.arrays = self.tokens, self.score, self.null_score

    def read(self, rows: np.ndarray, logits: Tensor) -> None:
        """Find the best spans of the windows `rows`; logits (readings, tokens, 2) hold them one after the other."""
        device = logits.device
        lengths = torch.from_numpy(self.windows.lengths[rows]).to(device)
        first_of_context, end_of_context = torch.from_numpy(self.windows.context[rows]).to(device)[..., None].unbind(1)
        padded = padded_windows(logits, lengths)  # (readings, windows, positions, 2)
        position = torch.arange(padded.shape[2], device=device)
        null = torch.from_numpy(self.windows.null[rows]).to(device)
        null_score = padded[:, torch.arange(len(rows), device=device), null].sum(-1)
        in_context = (position >= first_of_context) & (position < end_of_context)
        padded = padded.masked_fill(~in_context[..., None], -torch.inf)
        first, last, score = best_spans(padded[..., 0], padded[..., 1], max_answer_tokens=self.max_answer_tokens)
        self.tokens[:, rows] = torch.stack([first, last], dim=-1).cpu().numpy()
        self.score[:, rows] = score.cpu().numpy()
        self.null_score[:, rows] = null_score.cpu().numpy()

    def spans(self, contexts: list[str], *, merge: Literal["official", "highest"] = "official") -> Spans:
        """One span for each question; `contexts` are the questions' contexts, in the order of the questions.

        `merge` "official", as in BERT's own evaluation: the best span of all windows stands against the lowest null
        score. "highest", as in the original study: each window answers or does not, and the window with the highest
        score decides, the first of equals. (The original took neighbouring windows with equal question text for one
        question. On its data that never joins two questions, so windows are told apart by question here too.)
        """
        official = merge == "official"
        rank = self.score if official else np.maximum(self.score, self.null_score)
        readings, size = np.arange(len(rank)), (len(rank), len(contexts))
        result = Spans(
            chars=np.full((*size, 2), -1, np.int32),
            tokens=np.zeros((*size, 2), np.int64),
            score=np.full(size, -np.inf, np.float32),
            null_score=np.full(size, np.inf, np.float32),
        )
        offsets, starts = self.windows.offsets, self.windows.starts
        for question, rows in enumerate(question_rows(self.windows, len(contexts))):
            window = rows.start + rank[:, rows].argmax(axis=1)  # of each reading: the first of the best
            lowest = self.null_score[:, rows].min(axis=1)
            score = self.score[readings, window]
            there = score[:, None] > -np.inf  # false where the context has no token
            tokens = starts[window][:, None] + np.where(there, self.tokens[readings, window], 0)
            edges = zip(offsets[tokens[:, 0], 0].tolist(), offsets[tokens[:, 1], 1].tolist(), strict=True)
            chars = [stripped(contexts[question], first, end) for first, end in edges]
            result.score[:, question] = score
            result.null_score[:, question] = lowest if official else self.null_score[readings, window]
            result.tokens[:, question] = tokens
            result.chars[:, question] = np.where(there, np.reshape(chars, (-1, 2)), -1)
        return result


def stripped(context: str, first: int, end: int) -> tuple[int, int]:
    """The characters `first` to `end` of `context` without spaces at their edges, which some tokens hold."""
    text = context[first:end]
    first += len(text) - len(text.lstrip())
    return first, first + len(text.strip())

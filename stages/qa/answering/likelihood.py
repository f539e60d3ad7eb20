"""How likely a reading holds the gold start and end: negative log-likelihood in nats, question by question.

In a window, the softmax of the start logits over all its real tokens gives each of them a probability, and likewise for
the end: the model that the probes and the fine-tuned encoders are trained as. The gold tokens of a window are the first
(last) tokens of all gold answers that lie in it whole, or its first token ([CLS]) if there is none: the targets of
training, but for all the annotators' answers and not only the first. Their probabilities are added (a start that any
annotator chose is right: the marginal likelihood of Clark and Gardner 2018), and minus the logarithm is the window's
figure. A question's figure is the mean over its windows, each of which is a case of its own in training as well.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.qa.data.squad import Example
from stages.qa.data.windows import NO_ANSWER, Windows
from stages.qa.scratch import filled


class GoldLikelihood:
    """Reads packed logits window by window, and then averages the windows of each question."""

    def __init__(self, windows: Windows, examples: Sequence[Example], readings: int) -> None:
        self.windows = windows
        self.questions = len(examples)
        self.gold = gold_tokens(windows, examples)
        self.nll = filled((readings, len(windows), 2), np.nan, np.float32)

    def read(self, rows: np.ndarray, logits: Tensor) -> None:
        """logits (readings, tokens, 2): start and end logits of the windows `rows`, packed in their order."""
        lengths = torch.from_numpy(self.windows.lengths[rows])
        real = torch.arange(int(lengths.max())) < lengths[:, None]  # (windows, tokens)
        gold = torch.zeros(*real.shape, 2, dtype=torch.bool)
        for place, row in enumerate(rows):
            for side in (0, 1):
                gold[place, self.gold[row][side], side] = True
        padded = logits.new_full((len(logits), *real.shape, 2), -torch.inf)
        padded[:, real.to(logits.device)] = logits
        of_gold = padded.masked_fill(~gold.to(logits.device), -torch.inf).logsumexp(dim=2)
        nll = (padded.logsumexp(dim=2) - of_gold).clamp(min=0)  # rounding may leave a probability just above 1
        nll[:, (~gold.any(dim=1)).to(logits.device)] = torch.nan
        self.nll[:, rows] = nll.cpu().numpy()

    def of_questions(self) -> np.ndarray:
        """Start and end, (readings, questions, 2) float32, nats; NaN if labels are hidden or no answer has a token."""
        firsts = np.flatnonzero(np.diff(self.windows.examples, prepend=-1))
        counts, found = self.counts()[:, None], filled((len(self.nll), self.questions, 2), np.nan, np.float32)
        for row, nll in enumerate(self.nll):
            found[row] = np.add.reduceat(nll.astype(np.float64), firsts, axis=0) / counts
        return found

    def counts(self) -> np.ndarray:
        """Windows of each question, (questions,) int32."""
        return np.bincount(self.windows.examples, minlength=self.questions).astype(np.int32)


def gold_tokens(windows: Windows, examples: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
    """Gold first and last tokens of each window, as positions in it; none if labels are hidden or no gold has a token.

    A token belongs to an answer if it touches one of its characters, as in the targets of training.
    """
    rows_of: list[list[int]] = [[] for _ in examples]
    for row, question in enumerate(windows.examples.tolist()):
        rows_of[question].append(row)
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(len(windows))]
    for example, rows in zip(examples, rows_of, strict=True):
        if example.is_impossible is None:
            continue
        chars = [_context_chars(windows, row) for row in rows]
        spans: list[tuple[int, int]] = sorted({(a.start, a.start + len(a.text)) for a in example.answers})
        touching = [[_touching(own, *span) for own in chars] for span in spans]
        # an answer is whole in a window that holds as many characters of it as all windows together
        extents = [_extent(chars, places) for places in touching]
        if spans and not any(extents):
            continue
        for place, row in enumerate(rows):
            first = int(windows.context[row, 0])
            held = [
                own[place]
                for own, extent in zip(touching, extents, strict=True)
                if extent and _extent(chars[place : place + 1], own[place : place + 1]) == extent
            ]
            starts, ends = {first + int(own[0]) for own in held}, {first + int(own[-1]) for own in held}
            found[row] = (sorted(starts) or [NO_ANSWER], sorted(ends) or [NO_ANSWER])
    return found


def _context_chars(windows: Windows, row: int) -> np.ndarray:
    """Character offsets of the context tokens of a window, (tokens, 2)."""
    first, last = windows.starts[row] + windows.context[row]
    return windows.offsets[first:last]


def _touching(chars: np.ndarray, start: int, end: int) -> np.ndarray:
    return np.flatnonzero((chars[:, 1] > start) & (chars[:, 0] < end) & (chars[:, 0] < chars[:, 1]))


def _extent(chars: Sequence[np.ndarray], places: Sequence[np.ndarray]) -> tuple[int, int] | None:
    """First and last character of the tokens `places` of all windows; None if there is no token."""
    some = [own[at] for own, at in zip(chars, places, strict=True) if len(at)]
    return (min(int(own[0, 0]) for own in some), max(int(own[-1, 1]) for own in some)) if some else None

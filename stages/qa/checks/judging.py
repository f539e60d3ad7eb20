"""Forced F1 and cross-entropy of anything that scores tokens: probes, controls, mixes, probes of another layer.

One way of reading for all, so that they compare: spans are exact slices of the context, windows of a question are
merged as in the official evaluation, and an answer is forced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stages.qa.answering.spans import SpanReader
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import NumericsError
from stages.qa.metric import question_scores
from stages.qa.probing.learners import SpanModule
from stages.qa.probing.probes import token_scores, window_softmax
from stages.qa.progress import Progress

CHUNK_GIB = 0.25  # hidden states in memory at once
Scorer = Callable[[Chunk], Tensor]  # -> scores (readings, tokens, 2)


@dataclass(frozen=True)
class Judged:
    """How well each reading does."""

    questions: int  # with an answer: those that forced F1 counts
    windows: int  # with a target: those that the cross-entropy counts
    forced_f1: np.ndarray  # (readings,) percent; not-a-number without questions
    nll: np.ndarray  # (readings,) nats a position: mean over windows and over start and end


class Judge:
    """Collects the scores of the windows of some questions, chunk by chunk."""

    def __init__(self, scorer: Scorer, examples: Sequence[Example], windows: Windows, max_answer_tokens: int) -> None:
        """`examples` hold the answers that count, windows.targets the positions that count."""
        self.scorer, self.examples, self.windows = scorer, examples, windows
        self.max_answer_tokens = max_answer_tokens
        self.reader: SpanReader | None = None
        self.nll: list[np.ndarray] = []  # (readings, windows with a target)

    def __call__(self, chunk: Chunk) -> None:
        """Read a chunk of `windows`."""
        logits = self.scorer(chunk)
        if not torch.isfinite(logits.sum()):
            example = self.examples[self.windows.examples[chunk.rows[0]]]
            raise NumericsError(f"scores are not finite near question {example.id!r}")
        if self.reader is None:
            self.reader = SpanReader(self.windows, len(logits), max_answer_tokens=self.max_answer_tokens)
        self.reader.read(chunk.rows, logits)
        targets = torch.from_numpy(self.windows.targets[chunk.rows])
        lengths = torch.from_numpy(self.windows.lengths[chunk.rows])
        log_probabilities, starts = window_softmax(logits, lengths.to(logits.device))
        valid = targets[:, 0] != IGNORED
        rows = (starts.cpu()[:, None] + targets)[valid].to(logits.device)  # (windows, 2)
        hit = log_probabilities[:, rows, torch.arange(2, device=logits.device)]  # (readings, windows, 2)
        self.nll.append(-hit.mean(-1).double().cpu().numpy())

    def judged(self) -> Judged:
        """The scores after all windows were read."""
        if self.reader is None:
            raise ValueError("no window has been read")
        spans = self.reader.spans([example.context for example in self.examples])
        kept = [i for i, example in enumerate(self.examples) if example.answers]
        golds = [self.examples[i] for i in kept]
        f1 = []
        for chars in spans.chars:
            texts = {e.id: e.context[a:b] if a >= 0 else "" for e, (a, b) in zip(golds, chars[kept], strict=True)}
            f1.append(100 * question_scores(golds, texts).f1.mean() if golds else np.nan)
        nll = np.concatenate(self.nll, axis=1)
        return Judged(len(golds), nll.shape[1], np.array(f1), nll.mean(1))


@torch.inference_mode()
def show(encoder: Encoder, windows: Windows, watchers: Sequence[Callable[[Chunk], None]]) -> None:
    """Run all windows through the encoder once; each of `watchers` sees every chunk of hidden states."""
    with Progress(f"reading {encoder.name}", total=len(windows), unit="window") as progress:
        for rows in pieces(encoder, windows, np.arange(len(windows)), gib=CHUNK_GIB):
            stored = encode(encoder, windows, rows)
            chunk = replace(stored, states=stored.states.float())
            for watcher in watchers:
                watcher(chunk)
            progress.advance(len(chunk.rows))


def linear_scorer(weights: np.ndarray) -> Scorer:
    """Each layer's own probe: weights (layers, hidden, 2)."""
    vectors = torch.from_numpy(weights)
    return lambda chunk: token_scores(chunk.states, vectors.to(chunk.states.device))


def module_scorer(module: SpanModule) -> Scorer:
    """All readings of a module."""
    return lambda chunk: module(chunk.states)

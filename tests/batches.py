"""Random hidden states in place of an encoder's, as batches for the probes."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from stages.qa.encoding.encoder import Chunk
from stages.qa.encoding.features import Batch, padded


def batch_of(states: Sequence[Tensor], targets: Tensor, rows: np.ndarray | None = None) -> Batch:
    """Windows of states (layers, tokens, hidden) each, as on a CPU."""
    lengths = [one.shape[1] for one in states]
    parts = [one[:, None] for one in states]
    return Batch(np.arange(len(states)) if rows is None else rows, parts, torch.tensor(lengths), targets)


def padded_batch_of(states: Sequence[Tensor], targets: Tensor, rows: np.ndarray | None = None) -> Batch:
    """The same windows in one part, as on a GPU."""
    lengths = np.array([one.shape[1] for one in states])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.arange(len(states)) if rows is None else rows
    chunk = Chunk(rows, starts, torch.cat(list(states), dim=1), torch.empty(0, int(starts[-1]), 2))
    return padded(chunk, np.arange(len(states)), targets)


class _Windows(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.lengths)


class Given:
    """What `Features` gives, of windows of several lengths."""

    def __init__(self, states: Sequence[Tensor], targets: np.ndarray, articles: np.ndarray | None = None) -> None:
        """states: (layers, tokens, hidden) each; targets (windows, 2)."""
        self.states, self.targets = list(states), targets
        lengths = np.array([one.shape[1] for one in states])
        self.by_length = np.argsort(lengths, kind="stable")
        layers, _, hidden = states[0].shape
        self.encoder = SimpleNamespace(name="given", layers=layers, hidden=hidden, device=torch.device("cpu"))
        articles = np.zeros(len(states), dtype=int) if articles is None else articles
        self.windows = _Windows(lengths=lengths, targets=targets, articles=articles)

    def blocks(self) -> Iterator[Batch]:
        lengths = self.windows.lengths
        for length in np.unique(lengths[self.by_length]):
            rows = self.by_length[lengths[self.by_length] == length]
            part = torch.stack([self.states[row] for row in rows], dim=1)
            yield Batch(rows, [part], torch.from_numpy(lengths[rows]), torch.from_numpy(self.targets[rows]))

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        for place in range(0, len(order), batch_size):
            rows = order[place : place + batch_size]
            yield batch_of([self.states[row] for row in rows], torch.from_numpy(self.targets[rows]), rows)

    def part(self, rows: np.ndarray, targets: np.ndarray | None = None) -> "Given":
        part = Given(self.states, self.targets if targets is None else targets, self.windows.articles)
        part.by_length = self.by_length[np.isin(self.by_length, rows)]
        return part

"""Batches of frozen hidden states for the probes: kept in memory where they fit, else recomputed pass by pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.qa.encoder import Chunk, Encoder, chunks, encode
from stages.qa.progress import Progress
from stages.qa.windows import Windows


@dataclass(frozen=True)
class Batch:
    """Hidden states of some windows, packed, with the position of the answer in each."""

    states: Tensor  # (layers, tokens, hidden) float32
    lengths: Tensor  # (windows,) int64
    targets: Tensor  # (windows, 2) int64: first and last token of the answer; IGNORED, or past the end: no target


class Features:
    """The hidden states of `windows` under a frozen encoder. All passes after the first are cheap if they fit `gib`."""

    def __init__(self, encoder: Encoder, windows: Windows, *, gib: float) -> None:
        self.encoder = encoder
        self.windows = windows
        self.gib = gib
        self.fits = encoder.state_bytes * int(windows.starts[-1]) <= gib * 2**30
        self._kept: Chunk | None = None

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The windows of `order` (indices, each once) in batches of `batch_size`, the last one smaller."""
        if not self.fits:
            for chunk in chunks(self.encoder, self.windows, order, gib=self.gib, multiple=batch_size):
                for first in range(0, len(chunk.rows), batch_size):
                    rows = chunk.rows[first : first + batch_size]
                    tokens = slice(chunk.starts[first], chunk.starts[first + len(rows)])
                    yield self._batch(chunk.states[:, tokens], rows)
            return
        if self._kept is None:
            with Progress("encoding", total=len(self.windows), unit="window") as progress:
                self._kept = encode(self.encoder, self.windows, np.arange(len(self.windows)), advance=progress.advance)
        for place in range(0, len(order), batch_size):
            rows = order[place : place + batch_size]
            yield self._batch(_side_by_side(self._kept, rows), rows)

    def _batch(self, states: Tensor, rows: np.ndarray) -> Batch:
        device = states.device
        return Batch(
            states=states.float(),
            lengths=torch.from_numpy(self.windows.lengths[rows]).to(device),
            targets=torch.from_numpy(self.windows.targets[rows]).to(device),
        )


def _side_by_side(kept: Chunk, rows: np.ndarray) -> Tensor:
    """The states of some windows of `kept` as (layers, tokens, hidden) float32.

    Copied and widened window by window: one gather by an index, then a conversion, takes three times as long on a CPU.
    """
    pieces = [kept.states[:, kept.starts[row] : kept.starts[row + 1]] for row in rows]
    sizes = [piece.shape[1] for piece in pieces]
    states = torch.empty(len(kept.states), sum(sizes), kept.states.shape[2], device=kept.states.device)
    for place, piece in zip(states.split(sizes, dim=1), pieces, strict=True):
        place.copy_(piece)
    return states

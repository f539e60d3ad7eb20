"""Batches of frozen hidden states for the probes: kept in memory where they fit, else recomputed pass by pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import InputError
from stages.qa.progress import Progress
from stages.qa.windows import Windows


@dataclass(frozen=True)
class Batch:
    """Hidden states of some windows, packed, with the position of the answer in each.

    Of several processes, each has its own windows of the batch, perhaps none.
    """

    rows: np.ndarray  # (windows,) int64: indices into Windows
    states: Tensor  # (layers, tokens, hidden) float32
    lengths: Tensor  # (windows,) int64
    targets: Tensor  # (windows, 2) int64: first and last token of the answer; IGNORED, or past the end: no target


class Features:
    """The hidden states of `windows` under a frozen encoder. All passes after the first are cheap if they fit `gib`.

    Of several processes, each encodes its own windows, and `gib` is the memory of one. InputError if one had none.
    """

    def __init__(self, encoder: Encoder, windows: Windows, *, gib: float) -> None:
        self.encoder = encoder
        self.windows = windows
        self.gib = gib
        self.fits = encoder.state_bytes * int(windows.starts[-1]) <= gib * processes.count() * 2**30
        if len(windows) < processes.count():
            raise InputError(f"{len(windows)} training windows are too few for {processes.count()} processes")
        self._kept: Chunk | None = None

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The windows of `order` (indices, each once) in batches of `batch_size`, the last one smaller."""
        if not self.fits:
            gib = self.gib * len(order) / max(len(own(order)), 1)  # such that its own part takes what it may
            for piece in pieces(self.encoder, self.windows, order, gib=gib, multiple=batch_size):
                chunk = encode(self.encoder, self.windows, own(piece))
                first = 0
                for place in range(0, len(piece), batch_size):
                    rows = own(piece[place : place + batch_size])
                    tokens = slice(chunk.starts[first], chunk.starts[first + len(rows)])
                    yield self._batch(chunk.states[:, tokens], rows)
                    first += len(rows)
            return
        if self._kept is None:
            rows = own(np.arange(len(self.windows)))
            with Progress("encoding", total=len(rows), unit="window") as progress:
                self._kept = encode(self.encoder, self.windows, rows, advance=progress.advance)
        for place in range(0, len(order), batch_size):
            rows = own(order[place : place + batch_size])
            yield self._batch(_side_by_side(self._kept, rows), rows)

    def _batch(self, states: Tensor, rows: np.ndarray) -> Batch:
        device = states.device
        return Batch(
            rows=rows,
            states=states.float(),
            lengths=torch.from_numpy(self.windows.lengths[rows]).to(device),
            targets=torch.from_numpy(self.windows.targets[rows]).to(device),
        )


def own(rows: np.ndarray) -> np.ndarray:
    """Those of `rows` that are this process's: every window belongs to one, whatever the order."""
    return rows[rows % processes.count() == processes.rank()]


def _side_by_side(kept: Chunk, rows: np.ndarray) -> Tensor:
    """The states of some of this process's windows as (layers, tokens, hidden) float32; `kept` holds all of them.

    Copied and widened window by window: one gather by an index, then a conversion, takes three times as long on a CPU.
    """
    places = rows // processes.count()
    found = [kept.states[:, kept.starts[place] : kept.starts[place + 1]] for place in places]
    sizes = [states.shape[1] for states in found]
    states = torch.empty(len(kept.states), sum(sizes), kept.states.shape[2], device=kept.states.device)
    for part, of_window in zip(states.split(sizes, dim=1), found, strict=True):
        part.copy_(of_window)
    return states

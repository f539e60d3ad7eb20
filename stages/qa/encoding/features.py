"""Batches of frozen hidden states for the probes. They stay in memory if they fit, else each pass computes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import InputError
from stages.qa.progress import Progress


@dataclass(frozen=True)
class Batch:
    """Some windows, the places of their hidden states, and the position of the answer in each.

    Of several processes, each has its own windows of the batch, perhaps none.
    """

    rows: np.ndarray  # (windows,) int64: indices into Windows
    store: Tensor  # (layers, tokens, hidden) float32 or bfloat16: hidden states of these windows and of others
    places: list[slice]  # the tokens of each window in `store`
    targets: Tensor  # (windows, 2) int64: first and last token of the answer; no target: IGNORED, or past the end
    factors: Callable[[int, int], Tensor] | None = (
        None  # row, tokens -> (tokens, hidden): factors of all layers' states
    )

    @classmethod
    def packed(cls, rows: np.ndarray, states: Tensor, lengths: Tensor, targets: Tensor) -> "Batch":
        """A batch of windows that lie in `states` (layers, tokens, hidden) one after the other."""
        ends = torch.cumsum(lengths, 0).tolist()
        return cls(rows, states, [slice(first, last) for first, last in pairwise([0, *ends])], targets)

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each window, (windows,) int64."""
        lengths = [place.stop - place.start for place in self.places]
        return torch.tensor(lengths, dtype=torch.int64).to(self.store.device)

    @cached_property
    def states(self) -> Tensor:
        """Hidden states of the windows, packed, (layers, tokens, hidden) float32.

        Each window is copied and widened alone. To gather all by an index and widen them then takes a CPU three times
        as long.
        """
        layers, _, hidden = self.store.shape
        sizes = self.lengths.tolist()
        states = torch.empty(layers, sum(sizes), hidden, device=self.store.device)
        for window, part in enumerate(states.split(sizes, dim=1)):
            self._widen(window, part)
        return states

    def pieces(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Packed float32 states, lengths and targets: of all windows at once; on a CPU, of one window after the other.

        The widened states of one window stay in a CPU's cache for all that is done with them.
        """
        if self.store.device.type != "cpu":
            yield self.states, self.lengths, self.targets
            return
        for window, place in enumerate(self.places):
            states = torch.empty_like(self.store[:, place], dtype=torch.float32)
            self._widen(window, states)
            yield states, self.lengths[window : window + 1], self.targets[window : window + 1]

    def _widen(self, window: int, out: Tensor) -> None:
        """Write the states of a window, times their factors, to `out` (layers, tokens, hidden) float32."""
        out.copy_(self.store[:, self.places[window]])
        if self.factors:
            out *= self.factors(int(self.rows[window]), out.shape[1]).to(out.device)


class Features:
    """The hidden states of `windows` under a frozen encoder. If they fit into `gib` GiB, they are computed once.

    Each of several processes encodes its own windows, and `gib` is the memory of one. InputError if one has no windows.
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
        for piece, chunk in self._chunks(order, batch_size):
            place_of = {row: place for place, row in enumerate(chunk.rows.tolist())}
            for first in range(0, len(piece), batch_size):
                rows = own(piece[first : first + batch_size])
                places = [place_of[row] for row in rows.tolist()]
                tokens = [slice(int(chunk.starts[place]), int(chunk.starts[place + 1])) for place in places]
                targets = torch.from_numpy(self.windows.targets[rows]).to(chunk.states.device)
                yield Batch(rows, chunk.states, tokens, targets)

    def _chunks(self, order: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, Chunk]]:
        """Pieces of `order` of whole batches, each with the hidden states of this process's windows in it."""
        if not self.fits:
            gib = self.gib * len(order) / max(len(own(order)), 1)  # of all processes, so that this one takes `self.gib`
            for piece in pieces(self.encoder, self.windows, order, gib=gib, multiple=batch_size):
                yield piece, encode(self.encoder, self.windows, own(piece))
            return
        if self._kept is None:
            rows = own(np.arange(len(self.windows)))
            with Progress("encoding", total=len(rows), unit="window") as progress:
                self._kept = encode(self.encoder, self.windows, rows, advance=progress.advance)
        yield order, self._kept


def own(rows: np.ndarray) -> np.ndarray:
    """This process's part of `rows`: a window belongs to the same process in every order."""
    return rows[rows % processes.count() == processes.rank()]

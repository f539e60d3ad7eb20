"""Batches of frozen hidden states for the probes: kept in memory where they fit, else recomputed pass by pass."""

from collections.abc import Callable, Iterable, Iterator
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
    """Some windows, where their hidden states are, and the position of the answer in each.

    Of several processes, each has its own windows of the batch, perhaps none.
    """

    rows: np.ndarray  # (windows,) int64: indices into Windows
    store: Tensor  # (layers, tokens, hidden) float32 or bfloat16: hidden states of these windows and of others
    places: list[slice]  # the tokens of each window in `store`
    targets: Tensor  # (windows, 2) int64: first and last token of the answer; IGNORED, or past the end: no target
    factors: Callable[[int, int], Tensor] | None = None  # row, tokens -> (tokens, hidden): of its states in all layers

    @classmethod
    def packed(cls, rows: np.ndarray, states: Tensor, lengths: Tensor, targets: Tensor) -> "Batch":
        """A batch whose windows lie in `states` (layers, tokens, hidden) one after the other."""
        ends = torch.cumsum(lengths, 0).tolist()
        return cls(rows, states, [slice(*bounds) for bounds in pairwise([0, *ends])], targets)

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each window, (windows,) int64."""
        return torch.tensor([place.stop - place.start for place in self.places], dtype=torch.int64).to(
            self.store.device
        )

    @cached_property
    def states(self) -> Tensor:
        """Hidden states of the windows, packed, (layers, tokens, hidden) float32.

        Copied and widened window by window: one gather by an index, then a conversion, takes three times as long on a
        CPU.
        """
        layers, _, hidden = self.store.shape
        sizes = self.lengths.tolist()
        states = torch.empty(layers, sum(sizes), hidden, device=self.store.device)
        for window, part in enumerate(states.split(sizes, dim=1)):
            self._widen(window, part)
        return states

    def pieces(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Packed float32 states, lengths and targets of all windows at once; on a CPU of one window after the other.

        One window's states, widened, stay in a CPU's cache for all that is done with them.
        """
        if self.store.device.type != "cpu":
            yield self.states, self.lengths, self.targets
            return
        for window, place in enumerate(self.places):
            row = slice(window, window + 1)
            states = torch.empty_like(self.store[:, place], dtype=torch.float32)
            yield self._widen(window, states), self.lengths[row], self.targets[row]

    def _widen(self, window: int, out: Tensor) -> Tensor:
        """The states of a window, times their factors, into `out` (layers, tokens, hidden) float32."""
        out.copy_(self.store[:, self.places[window]])
        if self.factors:
            out *= self.factors(int(self.rows[window]), out.shape[1]).to(out.device)
        return out


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
                for start in range(0, len(piece), batch_size):
                    rows = own(piece[start : start + batch_size])
                    yield self._batch(chunk, rows, range(first, first + len(rows)))
                    first += len(rows)
            return
        if self._kept is None:
            rows = own(np.arange(len(self.windows)))
            with Progress("encoding", total=len(rows), unit="window") as progress:
                self._kept = encode(self.encoder, self.windows, rows, advance=progress.advance)
        for start in range(0, len(order), batch_size):
            rows = own(order[start : start + batch_size])
            yield self._batch(self._kept, rows, rows // processes.count())

    def _batch(self, chunk: Chunk, rows: np.ndarray, places: Iterable[int]) -> Batch:
        """The windows `rows`, which are those at `places` of `chunk`."""
        targets = torch.from_numpy(self.windows.targets[rows]).to(chunk.states.device)
        tokens = [slice(int(chunk.starts[place]), int(chunk.starts[place + 1])) for place in places]
        return Batch(rows, chunk.states, tokens, targets)


def own(rows: np.ndarray) -> np.ndarray:
    """Those of `rows` that are this process's: every window belongs to one, whatever the order."""
    return rows[rows % processes.count() == processes.rank()]

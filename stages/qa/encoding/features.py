"""Frozen hidden states for the probes, in batches. They stay in memory or in a file; else each pass computes them.

States of windows of one length lie together, so that a pass over all windows is a few large products and no loop over
windows.
"""

import copy
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import InputError, ResourceError
from stages.qa.models.families import token_index
from stages.qa.progress import progress_bar

logger = logging.getLogger(__name__)
BLOCK_BYTES = {"cpu": 2**21, "cuda": 2**28}  # of one layer of a block, as float32: a CPU's cache holds them
Widen = Callable[[Encoder, Windows, Chunk], Chunk]  # the same windows, with states of twice the width


@dataclass(frozen=True)
class Batch:
    """Some windows, their hidden states, and the position of the answer in each.

    Of several processes, each has its own windows of the batch, perhaps none.
    """

    rows: np.ndarray  # (windows,) int64: indices into Windows
    parts: list[Tensor]  # (layers, windows, tokens, hidden) float32 or bfloat16 each, in the order of `rows`
    lengths: Tensor  # (windows,) int64: tokens; fewer than in its part where that is padded
    targets: Tensor  # (windows, 2) int64: first and last token of the answer; no target: IGNORED, or past the end


class Features:
    """The hidden states of `windows` under a frozen encoder, computed once if they fit into `gib` GiB of memory.

    Of an encoder on a CPU also if they fit into a file of `file_gib` GiB in `folder`, which goes with the process. Each
    of several processes encodes its own windows, and the sizes are those of one. Probes get what `widen` makes of the
    states; that is in memory alone.

    InputError if a process has no windows; ResourceError, at the first pass, if the folder has no room for the file.
    """

    def __init__(
        self,
        encoder: Encoder,
        windows: Windows,
        *,
        gib: float,
        folder: Path | None = None,
        file_gib: float = 0.0,
        widen: Widen | None = None,
    ) -> None:
        self.encoder = replace(encoder, lens=None)  # nothing reads the own head of training windows
        self.windows = windows
        self.widen = widen
        self.gib = gib / 3 if widen else gib  # wide states are made beside those that they are made from
        size = encoder.state_bytes * int(windows.starts[-1]) / processes.count() / 2**30
        self.folder = folder if self.gib < size <= file_gib and encoder.device.type == "cpu" else None
        self.fits = size <= self.gib or self.folder is not None
        if size > self.gib:
            what = "kept in a file" if self.fits else "computed again in each pass"
            logger.info("%s: %.1f GiB of hidden states, more than %g: %s", encoder.name, size, self.gib, what)
        self.by_length = np.argsort(windows.lengths, kind="stable")
        if len(windows) < processes.count():
            raise InputError(f"{len(windows)} training windows are too few for {processes.count()} processes")
        self._kept: Chunk | None = None

    def blocks(self) -> Iterator[Batch]:
        """All windows of this process, once, in batches of one part whose states fit a CPU's cache."""
        for _, chunk in self._chunks(self.by_length, 1):
            device = chunk.states.device
            most = max(1, BLOCK_BYTES[device.type] // (4 * chunk.states.shape[2]))  # tokens
            lengths = self.windows.lengths[chunk.rows]  # in rising order
            for length in np.unique(lengths).tolist():
                first, end = np.searchsorted(lengths, [length, length + 1]).tolist()
                step = max(1, most // length)  # windows of a block
                for start in range(first, end, step):
                    rows = chunk.rows[start : min(start + step, end)]
                    first_token = int(chunk.starts[start])
                    tokens = slice(first_token, first_token + len(rows) * length)
                    states = chunk.states[:, tokens].unflatten(1, (len(rows), length))
                    of_block = torch.full((len(rows),), length, device=device)
                    yield Batch(rows, [states], of_block, self._targets(rows))

    def part(self, rows: np.ndarray, targets: np.ndarray | None = None) -> "Features":
        """The windows `rows` alone, without encoding them again if they are in memory.

        targets (all windows, 2): others in place of those of the windows.
        """
        part = copy.copy(self)
        if targets is not None:
            part.windows = replace(self.windows, targets=targets)
        part.by_length = self.by_length[np.isin(self.by_length, rows)]
        if self.fits:
            kept = self._encoded()
            places = np.flatnonzero(np.isin(kept.rows, rows))
            tokens = torch.from_numpy(token_index(kept.starts, places)).to(kept.states.device)
            starts = np.concatenate([[0], np.cumsum(np.diff(kept.starts)[places])])
            part._kept = Chunk(kept.rows[places], starts, kept.states[:, tokens], kept.head_logits[:, tokens])
        return part

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The windows of `order` (indices, each once) in batches of `batch_size`, the last one smaller."""
        for piece, chunk in self._chunks(order, batch_size):
            place_of = {row: place for place, row in enumerate(chunk.rows.tolist())}
            starts = chunk.starts.tolist()
            for first in range(0, len(piece), batch_size):
                rows = own(piece[first : first + batch_size])
                places = [place_of[row] for row in rows.tolist()]
                if chunk.states.device.type == "cpu":
                    parts = [chunk.states[:, None, starts[place] : starts[place + 1]] for place in places]
                    yield Batch(rows, parts, torch.from_numpy(self.windows.lengths[rows]), self._targets(rows))
                else:
                    yield padded(chunk, np.array(places, dtype=np.int64), self._targets(rows))

    def _targets(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.windows.targets[rows]).to(self.encoder.device)

    def _chunks(self, order: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, Chunk]]:
        """Pieces of `order` of whole batches, each with the hidden states of this process's windows in it."""
        if not self.fits:
            gib = self.gib * len(order) / max(len(own(order)), 1)  # of all processes, so that this one takes `self.gib`
            for piece in pieces(self.encoder, self.windows, order, gib=gib, multiple=batch_size):
                yield piece, self._encode(own(piece))
            return
        yield order, self._encoded()

    def _encoded(self) -> Chunk:
        """The hidden states of this process's windows, sorted by length."""
        if self._kept is None:
            rows = own(self.by_length)
            states = self._file(self.folder, rows) if self.folder else None
            with progress_bar("encoding", total=len(rows), unit="window") as progress:
                self._kept = self._encode(rows, states=states, advance=progress.update)
        return self._kept

    def _encode(self, rows: np.ndarray, **options: Any) -> Chunk:
        chunk = encode(self.encoder, self.windows, rows, **options)
        return self.widen(self.encoder, self.windows, chunk) if self.widen else chunk

    def _file(self, folder: Path, rows: np.ndarray) -> Tensor:
        """Room for the states of `rows` in a file of `folder` that has no name any more."""
        encoder = self.encoder
        shape = encoder.layers, int(self.windows.lengths[rows].sum()), encoder.hidden
        size, free = encoder.state_bytes * shape[1], shutil.disk_usage(folder).free
        if size > free:  # else the system would kill the process at the first page without room
            sizes = f"{size / 2**30:.1f} GiB of hidden states, {free / 2**30:.1f} are free"
            raise ResourceError(f"{folder}: {sizes}; lower probe.feature_file_gib in method.yaml")
        with NamedTemporaryFile(dir=folder) as file:
            return torch.from_file(file.name, shared=True, size=math.prod(shape), dtype=encoder.model.dtype).view(shape)


def padded(chunk: Chunk, places: np.ndarray, targets: Tensor) -> Batch:
    """A batch of the chunk's windows at `places` as one part, each as long as the longest of them: for a GPU.

    A window's padding holds states of the token after it, which `lengths` leaves out.
    """
    device = chunk.states.device
    starts = chunk.starts[places]
    lengths = chunk.starts[places + 1] - starts
    longest = int(lengths.max(initial=0))
    tokens = np.minimum(starts[:, None] + np.arange(longest), chunk.states.shape[1] - 1)
    states = chunk.states[:, torch.from_numpy(tokens.ravel()).to(device)]
    part = states.unflatten(1, (len(places), longest))
    return Batch(chunk.rows[places], [part], torch.from_numpy(lengths).to(device), targets)


def own(rows: np.ndarray) -> np.ndarray:
    """This process's part of `rows`: a window belongs to the same process in every order."""
    return rows[rows % processes.count() == processes.rank()]

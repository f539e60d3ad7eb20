"""Linear centred kernel alignment (CKA) between layers: how alike two sets of hidden states of the same tokens are.

CKA(X, Y) = |Y'X|^2 / (|X'X| |Y'Y|), X and Y (tokens, features) with centred columns, | | the Frobenius norm (Kornblith
et al. 2019). It has no unit: 1 for equal representations, up to rotation and one scale for all features; 0 for
uncorrelated ones. With few tokens for the number of features it comes out too high, and a few features of large
variance can decide it: it compares what is large in the hidden states, not what a probe uses.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stages.qa.data.splits import evenly_spread
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Chunk
from stages.qa.errors import InputError
from stages.qa.readings import SIMILARITY


class TokenSample:
    """Keeps the hidden states of at most `tokens` tokens of `windows`, at even distances, as chunks come by."""

    def __init__(self, windows: Windows, tokens: int) -> None:
        total = int(windows.starts[-1])
        self.windows = windows
        self.kept = np.zeros(total, dtype=bool)
        self.kept[evenly_spread(total, tokens)] = True
        self.parts: list[Tensor] = []

    def __call__(self, chunk: Chunk) -> None:
        """Keep this chunk's share. Chunks come in the windows' own order."""
        first, end = self.windows.starts[chunk.rows[0]], self.windows.starts[chunk.rows[-1] + 1]
        kept = torch.from_numpy(self.kept[first:end]).to(chunk.states.device)
        self.parts.append(chunk.states[:, kept])

    def states(self) -> Tensor:
        """(layers, tokens, hidden)."""
        return torch.cat(self.parts, dim=1)


def cka_matrix(one: Tensor, other: Tensor) -> np.ndarray:
    """CKA of every layer of `one` (layers, tokens, hidden) with every layer of `other`, (layers, layers) float64.

    InputError if they are not of the same tokens. A layer without any variance gives not-a-number.
    """
    if one.shape[1] != other.shape[1]:
        raise InputError(f"CKA needs the same tokens: one model has {one.shape[1]}, the other {other.shape[1]}")
    one, other = _unit(one), _unit(other)
    cka = np.empty((len(one), len(other)))
    for i, x in enumerate(one):
        for j, y in enumerate(other):
            cka[i, j] = torch.linalg.matrix_norm(y.T @ x).square()
    return cka


def similarity_rows(model: str, states: Tensor, other: str, other_states: Tensor) -> pd.DataFrame:
    """A row under SIMILARITY for each layer of `model` and each layer of `other`; states (layers, tokens, hidden)."""
    cka = cka_matrix(states, other_states)
    layer, other_layer = np.indices(cka.shape).reshape(2, -1)
    rows = pd.DataFrame({"layer": layer, "other_layer": other_layer, "cka": cka.ravel()})
    return rows.assign(model=model, other=other, tokens=states.shape[1])[SIMILARITY]


def _unit(states: Tensor) -> Tensor:
    """Centred, and scaled so that |X'X| = 1 for each layer."""
    centred = states - states.mean(1, keepdim=True)
    norm = torch.stack([torch.linalg.matrix_norm(layer.T @ layer) for layer in centred])
    return centred / norm.sqrt()[:, None, None]

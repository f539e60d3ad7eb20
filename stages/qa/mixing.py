"""Scalar mixes of layers with learned weights, and where in depth their mass lies.

Mix l reads layers 0 to l: their hidden states are added with weights s_0 .. s_l that are positive and sum to 1 (a
softmax), and one start and one end vector read the sum (Peters et al. 2018). A factor in front of the sum, as Peters
has it, would change nothing under a linear readout, so it is left out.

Centre of gravity: the mean layer under the weights of the mix of all layers. Expected layer: the mean layer under the
gains in score of mix l over mix l - 1, from layer 1 on (both: Tenney, Das and Pavlick 2019). Unit of both: layers.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stages.qa.learners import SpanModule


class ScalarMixes(SpanModule):
    """One reading for each l: the mix of layers 0 to l. All weights start even, all vectors at 0."""

    allowed: Tensor

    def __init__(self, layers: int, hidden: int) -> None:
        super().__init__(layers)
        self.raw = nn.Parameter(torch.zeros(layers, layers))  # (mixes, layers)
        self.vectors = nn.Parameter(torch.zeros(hidden, layers, 2))  # (hidden, mixes, 2)
        self.register_buffer("allowed", torch.ones(layers, layers).tril().bool(), persistent=False)

    def weights(self) -> Tensor:
        """Weight of each layer in each mix, (mixes, layers): rows sum to 1, 0 above the diagonal."""
        return self.raw.masked_fill(~self.allowed, -torch.inf).softmax(-1)

    def forward(self, states: Tensor) -> Tensor:
        """states (layers, tokens, hidden) -> scores (mixes, tokens, 2)."""
        layers, tokens, hidden = states.shape
        columns = self.vectors.flatten(1).T.expand(layers, 2 * layers, hidden)  # in front: see probes.summed_loss
        scores = torch.bmm(columns, states.transpose(1, 2)).view(layers, layers, 2, tokens)
        return torch.einsum("lmst,ml->mts", scores, self.weights() / self.scale)


def centre_of_gravity(weights: Sequence[float] | np.ndarray) -> float:
    """Mean layer under the weights (layers,) of the full mix."""
    weights = np.asarray(weights, dtype=np.float64)
    return float((np.arange(len(weights)) * weights).sum() / weights.sum())


def expected_layer(scores: Sequence[float] | np.ndarray) -> float:
    """Mean layer under the gains scores[l] - scores[l - 1], l >= 1, of the mixes of layers 0 to l; higher is better.

    Not-a-number if the gains sum to nothing or to a loss. A loss on the way counts with its sign, as in Tenney et al.:
    the value can then lie outside the layers.
    """
    gains = np.diff(np.asarray(scores, dtype=np.float64))
    total = gains.sum()
    return float((np.arange(1, len(gains) + 1) * gains).sum() / total) if total > 0 else float("nan")

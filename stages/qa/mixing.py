"""Scalar mixes of layers with learned weights.

Mix l reads layers 0 to l: their hidden states are added with weights s_0 .. s_l that are positive and sum to 1 (a
softmax), and one start and one end vector read the sum (Peters et al. 2018). A factor in front of the sum, as Peters
has it, would change nothing under a linear readout, so it is left out.
"""

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

"""Scalar mixes of layers with learned weights.

Mix l reads layers 0 to l: their hidden states are added with weights s_0 .. s_l that are positive and sum to 1 (a
softmax), and one start and one end vector read the sum (Peters et al. 2018). A factor in front of the sum, as Peters
has it, would change nothing under a linear readout, so it is left out.
"""

import torch
from torch import Tensor, nn

from stages.qa.probing.learners import SpanModule
from stages.qa.probing.probes import token_scores


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
        scores = token_scores(states, self.vectors.flatten(1).expand(layers, hidden, 2 * layers))
        return torch.einsum("ltms,ml->mts", scores.view(layers, tokens, layers, 2), self.weights() / self.scale)

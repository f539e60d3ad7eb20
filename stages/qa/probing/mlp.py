"""Probes with one hidden layer (rectified linear units), one for each layer of the encoder.

What such a probe finds and the linear one does not is there, but not as a direction. More capacity also finds more that
the representation does not hold as such, so read it beside its selectivity (Hewitt and Liang 2019).
"""

import torch
from torch import Tensor, nn

from stages.qa.probing.learners import SpanModule


class LayerMlps(SpanModule):
    """One reading for each layer: start and end scores of `width` rectified linear units."""

    def __init__(self, layers: int, hidden: int, width: int, *, generator: torch.Generator) -> None:
        """Weights uniform within the inverse root of the number of inputs, as torch's Linear draws them."""
        super().__init__(layers)

        def drawn(*shape: int, inputs: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(*shape, generator=generator) - 1) / inputs**0.5)

        self.inner = drawn(layers, width, hidden, inputs=hidden)
        self.bias = drawn(layers, width, 1, inputs=hidden)
        self.outer = drawn(layers, 2, width, inputs=width)

    def forward(self, states: Tensor) -> Tensor:
        """states (layers, tokens, hidden) -> scores (layers, tokens, 2)."""
        # in front of the tokens, as in probes.token_scores: (layers, width, tokens)
        units = torch.relu(torch.bmm(self.inner / self.scale[:, None, None], states.transpose(1, 2)) + self.bias)
        return torch.bmm(self.outer, units).transpose(1, 2)

"""Torch modules from hidden states to start and end scores, trained beside the probes from the same batches."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stages.qa import processes
from stages.qa.encoding.features import Batch
from stages.qa.files import read_tensors, write_tensors
from stages.qa.probing.probes import has_target, window_softmax


class SpanModule(nn.Module):
    """states (layers, tokens, hidden) -> start and end scores (readings, tokens, 2) of several readings.

    `scale` (layers,) divides the hidden states: the root mean square of each layer over the first batch seen, so that
    no layer counts for more because its numbers are larger.
    """

    scale: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.zeros(layers))

    def see(self, states: Tensor) -> None:
        """Set `scale` by the first batch."""
        if not self.scale.any():
            seen = states.square().mean(2)  # (layers, tokens)
            squares, tokens = processes.summed(seen.sum(1), torch.ones_like(seen).sum(1))
            self.scale.copy_((squares / tokens).sqrt().clamp(min=1e-6))


class GradientLearner:
    """Trains a module by Adam on the mean cross-entropy of start and end; a `Learner`. Its readings share no weight."""

    def __init__(self, module: SpanModule, learning_rate: float, windows: int) -> None:
        """`windows`: how many it learns from, rounded up to whole batches."""
        self.module, self.left = module, windows
        self.optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)

    def update(self, epoch: int, size: int, batch: Batch) -> None:
        """One step on every reading."""
        if self.left <= 0:
            return
        self.left -= size
        states = batch.states.clone() if batch.states.is_inference() else batch.states
        self.module.see(states)
        log_probabilities, starts = window_softmax(self.module(states), batch.lengths)
        valid = has_target(batch.lengths, batch.targets)
        (counts,) = processes.summed(valid.sum(0))
        loss = log_probabilities.new_zeros(())
        for side in range(2):
            rows_hit = (starts + batch.targets[:, side])[valid[:, side]]
            loss = loss - log_probabilities[:, rows_hit, side].sum() / max(int(counts[side]), 1) / 2
        self.optimizer.zero_grad()
        loss.backward()
        parameters = list(self.module.parameters())
        gradients = processes.summed(*(cast(Tensor, parameter.grad) for parameter in parameters))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()


def save_module(path: Path, module: SpanModule) -> None:
    """Write the module's weights as safetensors."""
    write_tensors(path, {name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()})


def load_weights(path: Path, module: SpanModule) -> None:
    """Read the weights that `save_module` wrote into a module of the same size."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in read_tensors(path).items()})

"""Softmax-regression span probes, trained by AdamW: every layer and every variant in one tensor.

A probe is a start vector and an end vector. The score of a token is the product of its hidden state and that vector,
and the softmax runs over the tokens of a window. A bias would shift all scores of a window alike, so it is left out: it
changes neither the loss nor an answer.

Source: github traviemcg/cs224nfinalproject, probe.py, whose updates this code reproduces (see tests/golden).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.config import Probe
from stages.qa.data.windows import IGNORED
from stages.qa.encoding.features import Batch, Features
from stages.qa.probing.readouts import Probes, Readout
from stages.qa.progress import Progress

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # AdamW as the original used it: no bias correction, no weight decay
SMALL = 2**23  # multiplications that take less time than it takes to wake a second thread (CPU)
PARTS = 10  # points of the loss curve in an epoch


def token_scores(states: Tensor, vectors: Tensor) -> Tensor:
    """states (layers, tokens, hidden), vectors (layers, hidden, columns) -> products (layers, tokens, columns).

    The few columns go in front of the product: with few columns behind, MKL takes up to 15 times as long.
    """
    return torch.bmm(vectors.transpose(1, 2).contiguous(), states.transpose(1, 2)).transpose(1, 2)


def window_softmax(logits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities over the tokens of each window.

    logits (layers, tokens, columns), lengths (windows,). Returns the packed log-probabilities in the shape of `logits`,
    and for each window the row of its first token, (windows,) int64.
    """
    starts = torch.cumsum(lengths, 0) - lengths
    if len(lengths) == 1:
        return logits.transpose(1, 2).log_softmax(2).transpose(1, 2), starts  # the layout of token_scores
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=logits.device), lengths)  # (tokens,)
    layers, _, columns = logits.shape
    index = owner[None, :, None].expand_as(logits)
    top = logits.new_full((layers, len(lengths), columns), -torch.inf)
    top = top.scatter_reduce(1, index, logits.detach(), reduce="amax").index_select(1, owner)
    shifted = logits - top
    total = logits.new_zeros(layers, len(lengths), columns).index_add(1, owner, shifted.exp())
    return shifted - total.log().index_select(1, owner), starts


def has_target(lengths: Tensor, targets: Tensor) -> Tensor:
    """Whether start and end of each window have a target, (windows, 2) bool."""
    return (targets > IGNORED) & (targets < lengths[:, None])


def summed_loss(batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of start and of end summed over the batch, its gradient, and the number of targets of each side.

    weights (layers, hidden, 2, variants) -> loss (layers, 2, variants) in nats, gradient in the shape of `weights`,
    both float64, counts (2,) int64. The gradient is in closed form: hidden states times (probability - target). The
    pieces of a batch are summed in float64. On a CPU each is a window: rounded to float32, the sum depends neither on
    their order nor on which process had which.
    """
    layers, hidden, sides, variants = weights.shape
    loss = weights.new_zeros(layers, sides, variants, dtype=torch.float64)
    gradient = weights.new_zeros(layers, sides * variants, hidden, dtype=torch.float64)
    counts = torch.zeros(sides, dtype=torch.int64, device=weights.device)
    with _few_threads(batch, weights):
        for states, lengths, targets in batch.pieces():
            log_probabilities, starts = window_softmax(token_scores(states, weights.flatten(2)), lengths)
            log_probabilities = log_probabilities.reshape(layers, -1, sides, variants)
            valid = has_target(lengths, targets)
            window, side = valid.nonzero(as_tuple=True)
            row = starts[window] + targets[valid]
            loss.index_add_(1, side, log_probabilities[:, row, side].double(), alpha=-1)
            residual = log_probabilities.exp()
            if len(side) < valid.numel():
                residual *= torch.repeat_interleave(valid, lengths, dim=0)[None, :, :, None]
            residual[:, row, side] -= 1
            gradient += torch.bmm(residual.flatten(2).transpose(1, 2), states)
            counts += valid.sum(0)
    return loss, gradient.transpose(1, 2).reshape(weights.shape), counts


@contextmanager
def _few_threads(batch: Batch, weights: Tensor) -> Iterator[None]:
    """One thread for what is done with windows of `batch`, if the product of each with `weights` is SMALL (CPU)."""
    threads = torch.get_num_threads()
    if weights.numel() * max((place.stop - place.start for place in batch.places), default=0) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ProbeBank:
    """The probes of all layers and variants, and the state of their AdamW optimisers."""

    def __init__(self, weights: Tensor, learning_rates: Tensor, *, max_grad_norm: float) -> None:
        """weights (layers, hidden, 2, variants) float32, learning_rates (variants,)."""
        self.weights = weights.clone()
        self.first_moment = torch.zeros_like(weights)
        self.second_moment = torch.zeros_like(weights)
        self.learning_rates = learning_rates
        self.max_grad_norm = max_grad_norm

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One optimiser step on every probe; returns the summed loss before it and the number of targets.

        (layers, 2, variants) in nats and (2,): of the whole batch, also if several processes have a part of it each.
        Start and end vector each have their own optimiser and are clipped by their own gradient norm.
        """
        with _few_threads(batch, self.weights):  # its own small steps too: one woken thread costs a fifth of an update
            loss, gradient, counts = processes.summed(*summed_loss(batch, self.weights))
            # the original's loss is the mean of the start and the end loss; without a target nothing changes
            gradient = (gradient / (2 * counts.clamp(min=1)[:, None])).float()
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)  # over hidden
            gradient *= (self.max_grad_norm / (norm + 1e-6)).clamp(max=1)
            self.first_moment.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
            self.second_moment.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            self.weights -= self.learning_rates * self.first_moment / (self.second_moment.sqrt() + EPSILON)
        return loss, counts


def initial_weights(layers: int, hidden: int, seeds: list[int], *, std: float) -> Tensor:
    """Normal weights (layers, hidden, 2, seeds) float32; each seed draws its own, whatever the others are."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(layers, hidden, 2, generator=g) * std for g in generators], dim=-1)


def with_dropout(batch: Batch, share: float, *seed: int) -> Batch:
    """`batch` with a share of its features set to 0 and the rest scaled up.

    One mask serves all layers, sides and variants: each probe sees the same law as with a mask of its own. A window's
    mask depends on `seed` and the window alone. `share` is taken to the nearest 2**-16: sixteen random bits a feature
    cost a fraction of what a random float does.
    """
    hidden = batch.store.shape[2]

    def mask(row: int, tokens: int) -> Tensor:
        size = tokens * hidden
        raw = np.random.PCG64([*seed, row + 1]).random_raw(-(-size // 4)).view(np.uint16)[:size]
        return torch.from_numpy((raw >= round(share * 2**16)) * np.float32(1 / (1 - share))).view(tokens, hidden)

    return replace(batch, factors=mask) if share else batch


class Learner(Protocol):
    """What else learns from the probes' batches, at no forward pass of its own: see code_length, mixing and mlp."""

    def update(self, epoch: int, size: int, batch: Batch) -> None:
        """Learn from a batch before dropout, of `size` windows in all processes. `epoch` counts from 0."""


def train_probes(features: Features, settings: Probe, beside: Sequence[Learner] = ()) -> Probes:
    """Train a probe on every layer for every learning rate and seed, in one pass over the windows an epoch.

    One readout for each epoch, learning rate and seed. The order of the windows and the dropout depend on `order_seed`
    alone, so a probe ends up the same whatever others are trained beside it.
    """
    variants = list(product(settings.learning_rates, settings.seeds))
    encoder, windows = features.encoder, len(features.windows)
    device = encoder.device
    initial = initial_weights(encoder.layers, encoder.hidden, [seed for _, seed in variants], std=settings.init_std)
    rates = torch.tensor([rate for rate, _ in variants], device=device)
    bank = ProbeBank(initial.to(device), rates, max_grad_norm=settings.max_grad_norm)
    steps = -(-windows // settings.batch_size)
    readouts: list[Readout] = []
    weights: list[np.ndarray] = []
    curve: list[tuple[int, float, int, float, float]] = []
    with Progress("training probes", total=settings.epochs * steps, unit="batch") as progress:
        for epoch in range(settings.epochs):
            order = np.random.default_rng([settings.order_seed, epoch]).permutation(windows)
            losses = []
            for step, batch in enumerate(features.batches(order, settings.batch_size)):
                size = min(settings.batch_size, windows - step * settings.batch_size)
                for learner in beside:
                    learner.update(epoch, size, batch)
                loss, counts = bank.update(with_dropout(batch, settings.dropout, settings.order_seed, epoch))
                losses.append((loss / counts.clamp(min=1)[:, None]).mean(1).float())
                progress.advance(loss=float(losses[-1].mean()))
            readouts += [Readout("adamw", epoch + 1, rate, seed) for rate, seed in variants]
            weights += list(bank.weights.permute(3, 0, 1, 2).cpu().numpy().copy())  # training goes on in place
            for part, piece in enumerate(np.array_split(torch.stack(losses).cpu().numpy(), min(PARTS, steps)), start=1):
                time = epoch + part / min(PARTS, steps)
                mean = piece.mean(0)  # (layers, variants)
                curve += [
                    (layer, rate, seed, time, float(mean[layer, column]))
                    for column, (rate, seed) in enumerate(variants)
                    for layer in range(encoder.layers)
                ]
    return Probes(readouts, np.stack(weights), losses=curve)

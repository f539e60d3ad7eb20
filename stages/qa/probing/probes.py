"""Softmax-regression span probes, trained by AdamW: every layer and every variant in one tensor.

A probe is a start vector and an end vector. The score of a token is the product of its hidden state and that vector,
and the softmax runs over the tokens of a window. A bias would shift all scores of a window alike, so it is left out: it
changes neither the loss nor an answer.

Source: github traviemcg/cs224nfinalproject, probe.py, whose updates this code reproduces (see tests/golden).
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.data.windows import IGNORED
from stages.qa.encoding.features import Batch, Features
from stages.qa.probing.readouts import LossPoint, Probes
from stages.qa.progress import progress_bar
from stages.qa.readings import Readout
from stages.qa.sections import Probe

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # AdamW as the original used it: no bias correction, no weight decay
PARTS = 10  # points of the loss curve in an epoch


def token_scores(states: Tensor, vectors: Tensor) -> Tensor:
    """Products (layers, tokens, columns) of states (layers, tokens, hidden) and vectors (layers, hidden, columns).

    The vectors are the left factor of the product: with few columns on the right, MKL takes up to 15 times as long.
    """
    return torch.bmm(vectors.transpose(1, 2).contiguous(), states.transpose(1, 2)).transpose(1, 2)


def padded_windows(logits: Tensor, lengths: Tensor) -> Tensor:
    """Packed logits (readings, tokens, columns) window by window, (readings, windows, longest, columns); -inf beyond.

    lengths (windows,): tokens of each window.
    """
    real = torch.arange(int(lengths.max()), device=logits.device) < lengths[:, None]  # (windows, longest)
    padded = logits.new_full((len(logits), *real.shape, logits.shape[-1]), -torch.inf)
    padded[:, real] = logits
    return padded


def target_log_probabilities(logits: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of the target tokens of each window, (readings, windows, 2); -inf for a window without a target.

    logits (readings, tokens, 2) hold the windows one after the other, lengths (windows,) their tokens. targets
    (windows, targets, 2) are positions in the window, or IGNORED where a window has fewer. The probabilities of several
    targets are added.
    """
    windows, sides = (torch.arange(size, device=logits.device) for size in (len(lengths), 2))
    log_probabilities = padded_windows(logits, lengths).log_softmax(2)
    of_targets = log_probabilities[:, windows[:, None, None], targets.clamp(min=0), sides]
    return of_targets.masked_fill(targets == IGNORED, -torch.inf).logsumexp(2)


def summed_loss(batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of start and of end summed over the batch, its gradient, and the number of targets of each side.

    weights (layers, hidden, 2, variants) -> loss (layers, 2, variants) in nats, gradient in the shape of `weights`,
    both float64, counts (2,) int64. The gradient is in closed form: hidden states times (probability - target). The
    sums over windows and over parts are float64.
    """
    layers, hidden, sides, variants = weights.shape
    vectors = weights.flatten(2).transpose(1, 2).contiguous()  # (layers, columns, hidden): MKL is slow the other way
    parts = [part.float() for part in batch.parts]
    longest = max((part.shape[2] for part in parts), default=1)
    scores = weights.new_full((layers, sides * variants, len(batch.rows), longest), -torch.inf)
    for part, windows in _placed(parts):
        products = torch.bmm(vectors, part.flatten(1, 2).transpose(1, 2))
        scores[:, :, windows, : part.shape[2]] = products.unflatten(2, part.shape[1:3])
    if len(parts) == 1 and not (batch.lengths == longest).all():  # a padded part
        padding = torch.arange(longest, device=scores.device) >= batch.lengths[:, None]
        scores.masked_fill_(padding, -torch.inf)
    log_probabilities = scores.log_softmax(-1).unflatten(1, (sides, variants))

    valid = (batch.targets > IGNORED) & (batch.targets < batch.lengths[:, None])  # (windows, 2)
    counted = valid.T[None, :, None]  # (1, sides, 1, windows)
    places = batch.targets.masked_fill(~valid, 0).T[None, :, None, :, None]
    places = places.expand(layers, -1, variants, -1, -1)
    loss = -(log_probabilities.gather(-1, places)[..., 0].double() * counted).sum(-1)

    ones = torch.ones((), device=weights.device).expand(places.shape)
    residual = log_probabilities.exp_().scatter_add_(-1, places, -ones)
    if not valid.all():  # a window without a target has no gradient
        residual *= counted[..., None]
    residual = residual.flatten(1, 2)  # (layers, columns, windows, longest)
    gradient = weights.new_zeros(layers, sides * variants, hidden, dtype=torch.float64)
    for part, windows in _placed(parts):
        gradient += torch.bmm(residual[:, :, windows, : part.shape[2]].flatten(2), part.flatten(1, 2))
    return loss, gradient.transpose(1, 2).reshape(weights.shape), valid.sum(0)


def _placed(parts: list[Tensor]) -> Iterator[tuple[Tensor, slice]]:
    """Each part, and the places of its windows in the batch."""
    first = 0
    for part in parts:
        yield part, slice(first, first + part.shape[1])
        first += part.shape[1]


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

        Loss (layers, 2, variants) in nats and targets (2,) are those of the whole batch, over all processes. Start and
        end vector each have their own optimiser and are clipped by their own gradient norm.
        """
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

    One mask serves all layers, sides and variants: for each probe alone, that is as random as a mask of its own. A
    window's mask depends on `seed` and the window alone. `share` is rounded to a multiple of 2**-16, because 16 random
    bits a feature cost a fraction of a random float.
    """
    if share == 0:
        return batch

    def factors(row: int, size: int) -> np.ndarray:
        words = math.ceil(size / 4)  # of 64 bits, four draws each
        draws = np.random.PCG64([*seed, row + 1]).random_raw(words).view(np.uint16)[:size]
        return (draws >= round(share * 2**16)) * np.float32(1 / (1 - share))

    parts = []
    for part, windows in _placed(batch.parts):
        size = math.prod(part.shape[2:])
        mask = np.stack([factors(row, size) for row in batch.rows[windows].tolist()])
        parts.append(part * torch.from_numpy(mask).view(part.shape[1:]).to(part.device))
    return replace(batch, parts=parts)


def train_probes(features: Features, settings: Probe) -> Probes:
    """Train a probe on every layer for every learning rate and seed, in one pass over the windows an epoch.

    Gives one readout for each epoch, learning rate and seed. The order of the windows and the dropout depend on
    `order_seed` alone, so a probe ends up the same whatever other variants are trained with it.
    """
    variants = list(product(settings.learning_rates, settings.seeds))
    encoder, windows = features.encoder, len(features.windows)
    initial = initial_weights(encoder.layers, encoder.hidden, [seed for _, seed in variants], std=settings.init_std)
    rates = torch.tensor([rate for rate, _ in variants], device=encoder.device)
    bank = ProbeBank(initial.to(encoder.device), rates, max_grad_norm=settings.max_grad_norm)
    readouts: list[Readout] = []
    weights: list[np.ndarray] = []
    losses: list[LossPoint] = []
    batches = math.ceil(windows / settings.batch_size)
    with progress_bar("training probes", total=settings.epochs * batches, unit="batch") as progress:
        for epoch in range(settings.epochs):
            order = np.random.default_rng([settings.order_seed, epoch]).permutation(windows)
            of_batches = []
            for batch in features.batches(order, settings.batch_size):
                loss, counts = bank.update(with_dropout(batch, settings.dropout, settings.order_seed, epoch))
                of_batches.append((loss / counts.clamp(min=1)[:, None]).mean(1).float())  # (layers, variants)
                progress.set_postfix(loss=f"{float(of_batches[-1].mean()):.3f}", refresh=False)
                progress.update()
            losses += _loss_curve(torch.stack(of_batches).cpu().numpy(), epoch, variants)
            readouts += [Readout("adamw", epoch + 1, rate, seed) for rate, seed in variants]
            weights.append(bank.weights.permute(3, 0, 1, 2).cpu().numpy().copy())  # training goes on in place
    return Probes(readouts, np.concatenate(weights), losses=losses)


def _loss_curve(of_batches: np.ndarray, epoch: int, variants: list[tuple[float, int]]) -> list[LossPoint]:
    """The mean losses of the parts of an epoch; of_batches (batches, layers, variants), variants (learning rate, seed).

    An epoch has PARTS parts, or as many as it has batches.
    """
    points = []
    parts = np.array_split(of_batches, min(PARTS, len(of_batches)))
    step = epoch * len(of_batches)
    for number, part in enumerate(parts, start=1):
        time = epoch + number / len(parts)
        step += len(part)
        mean = part.mean(0)  # (layers, variants)
        for (rate, seed), of_layers in zip(variants, mean.T.tolist(), strict=True):
            points += [(layer, rate, seed, time, step, loss) for layer, loss in enumerate(of_layers)]
    return points

"""Probes at the optimum of a strongly convex problem, with a certificate of how near they are.

For each layer, and for start and end apart, the fit minimises over a vector w

    mean over windows of cross-entropy(softmax over the window's tokens of states @ w) + l2 / 2 * |scale * w|^2

where `scale` is the standard deviation of each feature: the penalty then means the same for every layer and encoder.
In the coordinates z = scale * w the objective is l2-strongly convex, so that with gradient g in z

    objective - optimum <= |g|^2 / (2 * l2)

(Nesterov, Introductory Lectures on Convex Optimization, 2004, theorem 2.1.10). This bound is the certificate: it needs
no trust in the solver: L-BFGS (Liu and Nocedal, 1989) for all layers, sides and strengths at once, each with its own
history, step length and end. Its first guess of the Hessian is the exact one over a sample of the windows (Byrd, Chin,
Neveitt and Nocedal, 2011), computed again every few passes: without it, the fit needs several times as many passes.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.encoding.features import Features, own
from stages.qa.errors import InputError, NumericsError
from stages.qa.probing.probes import summed_loss, token_scores, window_softmax
from stages.qa.probing.readouts import Probes
from stages.qa.progress import Progress
from stages.qa.readings import Readout
from stages.qa.sections import Convex

BATCH = {"cpu": 8, "cuda": 32}  # windows whose gradients are added up in float32; that many fill a GPU
HISTORY = 12  # steps that L-BFGS remembers
LENGTHS = (1.0, 0.3, 0.1, 0.01)  # step lengths, all tried in one pass as columns of one product
SAMPLE = 256  # windows of the sampled Hessian
REFRESH = 8  # passes from one sampled Hessian to the next
ARMIJO = 1e-4  # share of the promised decrease that a step must bring
ROUNDING = 1e-6  # nats: what float32 states leave uncertain in the objective


@dataclass(frozen=True)
class Fit:
    """Probes and their certificates; all arrays but the first are (layers, 2, variants) float64, in nats."""

    weights: Tensor  # (layers, hidden, 2, variants) float32
    objective: np.ndarray
    gap: np.ndarray  # the objective exceeds its optimum by no more
    passes: int  # over the windows


class _Objective:
    """The regularised objective in the coordinates z, for all layers, sides and variants at once."""

    def __init__(self, features: Features, rows: np.ndarray, scale: Tensor, l2: Tensor) -> None:
        self.features, self.rows = features, rows
        self.scale = scale[:, :, None, None]  # (layers, hidden, 1, 1)
        self.l2 = l2.expand(len(scale), 2, -1)  # (layers, 2, variants)

    def __call__(self, z: Tensor, *, repeated: int = 1) -> tuple[Tensor, Tensor]:
        """Value (layers, 2, variants) and gradient (layers, hidden, 2, variants) at z, both float64.

        Each variant of `l2` serves `repeated` neighbouring columns of z.
        """
        weights = (z / self.scale).float()
        loss = torch.zeros(z.shape[0], *z.shape[2:], dtype=torch.float64, device=z.device)
        gradient, counts = torch.zeros_like(z), torch.zeros(2, dtype=torch.float64, device=z.device)
        for batch in self.features.batches(own(self.rows), BATCH[z.device.type]):
            batch_loss, batch_gradient, batch_counts = summed_loss(batch, weights)
            loss += batch_loss
            gradient += batch_gradient
            counts += batch_counts
        loss, gradient, counts = processes.summed(loss, gradient, counts)
        counts = counts.clamp(min=1)[:, None]
        l2 = self.l2.repeat_interleave(repeated, dim=-1)
        value = loss / counts + l2 / 2 * z.square().sum(1)
        return value, gradient / self.scale / counts + l2[:, None] * z

    def sampled_hessian(self, z: Tensor) -> Tensor:
        """Cholesky factors (layers, 2, variants, hidden, hidden) of the Hessian over evenly spread windows, float64.

        The Hessian of a window is the covariance of its states under the probabilities of its tokens.
        """
        every = max(1, len(self.rows) // SAMPLE) | 1  # odd, so that each of 2, 4, 8 ... processes has a share
        sample = self.rows[::every]
        weights = (z / self.scale).float().flatten(2)
        layers, hidden, columns = weights.shape
        total = torch.zeros(layers, columns, hidden, hidden, dtype=torch.float64, device=z.device)
        for states, lengths in _pieces(self.features, sample):
            probability = window_softmax(token_scores(states, weights), lengths)[0].exp()
            states = states / self.scale[:, None, :, 0, 0].float()
            window = torch.repeat_interleave(torch.arange(len(lengths), device=z.device), lengths)  # of each token
            for column in range(columns):
                weighted = states * probability[:, :, column, None]
                mean = states.new_zeros(layers, len(lengths), hidden).index_add(1, window, weighted)
                total[:, column] += torch.bmm(states.transpose(1, 2), weighted) - torch.bmm(mean.transpose(1, 2), mean)
        hessian = processes.summed(total)[0].unflatten(1, z.shape[2:]) / len(sample)
        identity = torch.eye(hidden, dtype=torch.float64, device=z.device)
        return torch.linalg.cholesky(hessian + 1.01 * self.l2[..., None, None] * identity)


def _pieces(features: Features, rows: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
    """Packed float32 states (layers, tokens, hidden) and lengths of this process's windows among `rows`."""
    for batch in features.batches(own(rows), BATCH[features.encoder.device.type]):
        for states, lengths, _ in batch.pieces():
            yield states, lengths


def feature_scale(features: Features) -> Tensor:
    """Standard deviation of each feature over all tokens, (layers, hidden) float64; 1 for a constant feature.

    Means and squared deviations of the pieces are combined as Chan, Golub and LeVeque (1979) do, so that a large mean
    takes no digits from a small variance.
    """
    count = 0
    mean = squares = torch.zeros((), dtype=torch.float64, device=features.encoder.device)
    for states, _ in _pieces(features, np.arange(len(features.windows))):
        states = states.double()
        size, piece_mean = states.shape[1], states.mean(1)
        piece_squares = (states - piece_mean[:, None]).square().sum(1)
        shift = piece_mean - mean
        squares = squares + (piece_squares + shift.square() * (count * size / (count + size)))
        mean = mean + shift * (size / (count + size))
        count += size
    total, weighted_mean = processes.summed(torch.full_like(mean, count), count * mean)
    (squares,) = processes.summed(squares + count * (mean - weighted_mean / total).square())
    deviation = (squares / total).sqrt()
    return torch.where(deviation > 1e-6, deviation, 1.0)


def fit(features: Features, rows: np.ndarray, scale: Tensor, l2: Tensor, start: Tensor, settings: Convex) -> Fit:
    """Minimise the objective over the windows `rows` from `start` (layers, hidden, 2, variants).

    l2 broadcasts to (layers, 2, variants). The fit ends when every problem is within the settings' gap, or after
    max_passes.
    """
    objective = _Objective(features, rows, scale, l2)
    l2 = objective.l2
    lengths = torch.tensor(LENGTHS, dtype=torch.float64, device=scale.device)
    z = start.double() * objective.scale
    value, gradient = objective(z)
    steps: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=HISTORY)
    shrink = torch.ones_like(value)  # of all lengths: smaller where none of them led down
    passes = 1
    with Progress("fitting probes", total=settings.max_passes, unit="pass") as progress:
        while passes < settings.max_passes:
            bound = gradient.square().sum(1) / (2 * l2)
            progress.advance(gap=float(bound.max()))
            if (bound <= settings.gap).all():
                break
            if passes % REFRESH == 1:
                curvature = objective.sampled_hessian(z)
            direction = _direction(gradient, steps, curvature) * (bound > settings.gap)[:, None]
            tried = direction[..., None] * (lengths * shrink[..., None])[:, None]  # (..., variants, lengths)
            values, gradients = objective((z[..., None] + tried).flatten(-2), repeated=len(lengths))
            passes += 1
            best, choice = values.unflatten(-1, (-1, len(lengths))).min(-1)
            promised = lengths[choice] * shrink * (gradient * direction).sum(1)
            taken = best <= value + ARMIJO * promised + ROUNDING
            new_gradient = _chosen(gradients.unflatten(-1, (-1, len(lengths))), choice)
            step = torch.where(taken[:, None], _chosen(tried, choice), 0.0)
            change = torch.where(taken[:, None], new_gradient - gradient, 0.0)
            product = (step * change).sum(1)
            steps.append((step, change, torch.where(product > 1e-16, 1 / product, 0.0)))
            z, gradient = z + step, gradient + change
            value = torch.where(taken, best, value)
            shrink = torch.where(taken, 1.0, shrink * LENGTHS[-1])
    return Fit(
        weights=(z / objective.scale).float(),
        objective=value.cpu().numpy(),
        gap=(gradient.square().sum(1) / (2 * l2)).cpu().numpy(),
        passes=passes,
    )


def _chosen(tried: Tensor, choice: Tensor) -> Tensor:
    """Of tried (layers, hidden, 2, variants, lengths) the length that `choice` (layers, 2, variants) names."""
    index = choice[:, None, ..., None].expand(*tried.shape[:-1], 1)
    return tried.gather(-1, index)[..., 0]


def _direction(gradient: Tensor, steps: deque[tuple[Tensor, Tensor, Tensor]], curvature: Tensor) -> Tensor:
    """Minus the gradient, times the inverse Hessian as L-BFGS's two loops and the sampled Hessian estimate it.

    steps: step, change of the gradient, and one over their product. A product of 0 stands for a step that was not
    taken; it then changes nothing.
    """
    direction = -gradient
    shares = []
    for step, change, inverse in reversed(steps):
        share = inverse * (step * direction).sum(1)
        direction = direction - share[:, None] * change
        shares.append(share)
    solved = torch.cholesky_solve(direction.permute(0, 2, 3, 1)[..., None], curvature)
    direction = solved[..., 0].permute(0, 3, 1, 2)
    for (step, change, inverse), share in zip(steps, reversed(shares), strict=True):
        direction = direction + step * (share - inverse * (change * direction).sum(1))[:, None]
    return direction


def fit_optimum(features: Features, articles: np.ndarray, settings: Convex) -> Probes:
    """Choose l2 for each layer on held-out articles, then fit all windows; `articles` (windows,) are their numbers.

    Raises NumericsError if a fit misses its gap, unless the settings allow it; InputError if articles are too few.
    """
    rows = np.arange(len(features.windows))
    held_out = _held_out_articles(features.encoder.name, articles, settings.held_out)
    judged = np.isin(articles, held_out)
    scale = feature_scale(features)
    candidates = torch.tensor(settings.l2, dtype=torch.float64, device=scale.device)
    zero = torch.zeros(*scale.shape, 2, len(candidates), device=scale.device)
    trial = fit(features, rows[~judged], scale, candidates, zero, settings)
    judge = _Objective(features, rows[judged], scale, torch.zeros_like(candidates))
    held_out_loss = judge(trial.weights.double() * judge.scale)[0].mean(1)  # (layers, candidates)
    best = held_out_loss.argmin(-1)
    l2 = candidates[best]  # (layers,)
    start = torch.stack([weights[..., [choice]] for weights, choice in zip(trial.weights, best, strict=True)])
    final = fit(features, rows, scale, l2[:, None, None], start, settings)
    if (final.gap > settings.gap).any() and not settings.allow_missed_gap:
        layer = int(final.gap.max((1, 2)).argmax())
        raise NumericsError(
            f"model {features.encoder.name}, layer {layer}: after {final.passes} passes the probe may be "
            f"{final.gap.max():.2g} nats from its optimum, above convex.gap {settings.gap:g}; raise convex.max_passes"
        )
    certificates: list[dict[str, float | int]] = [
        {
            "layer": layer,
            "l2": float(l2[layer]),
            "held_out_loss": float(held_out_loss[layer, best[layer]]),
            "l2_articles": len(held_out),
            "objective": float(final.objective[layer].mean()),
            "gap": float(final.gap[layer].max()),
            "passes": final.passes,
        }
        for layer in range(len(l2))
    ]
    weights = final.weights.permute(3, 0, 1, 2).cpu().numpy()
    return Probes([Readout("convex", None, None, None)], weights, certificates=certificates)


def _held_out_articles(model: str, articles: np.ndarray, share: float) -> np.ndarray:
    """About `share` of the articles, at even distances; at least one of them, and never all."""
    names = np.unique(articles)
    if len(names) < 2:
        raise InputError(f"{model}: choosing convex.l2 needs two training articles or more, there is one")
    every = max(2, round(1 / share))
    return names[min(every // 2, len(names) - 1) :: every]

"""Probes at the optimum of a strongly convex problem, with a certificate of how near they are.

For each layer, and for start and end apart, the fit minimises over a vector w

    mean over windows of cross-entropy(softmax over the window's tokens of states @ w) + l2 / 2 * |scale * w|^2

where `scale` is the standard deviation of each feature: the penalty then means the same for every layer and encoder.
In the coordinates z = scale * w the objective is l2-strongly convex, so that with gradient g in z

    objective - optimum <= |g|^2 / (2 * l2)

(Nesterov, Introductory Lectures on Convex Optimization, 2004, theorem 2.1.10). This bound is the certificate: it needs
no trust in the solver: L-BFGS (Liu and Nocedal, 1989) for all layers and sides at once, each with its own history. Its
first guess of the Hessian is the exact one over a sample of the windows (Byrd, Chin, Neveitt and Nocedal, 2011).
Each fit starts from the optimum under a stronger penalty, and its memory takes over the steps made so far.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.qa import processes
from stages.qa.encoding.features import Features
from stages.qa.errors import NumericsError
from stages.qa.probing.probes import summed_loss, token_scores
from stages.qa.probing.readouts import Probes
from stages.qa.progress import progress_bar
from stages.qa.readings import Readout
from stages.qa.sections import Convex

HISTORY = 40  # steps that L-BFGS remembers
SAMPLE = 512  # windows of the sampled Hessian
START, STEP = 10.0, 30.0  # the penalty of the first fit, and how much weaker the next one is
ARMIJO = 1e-4  # share of the promised decrease that a step must bring
ROUNDING = 1e-6  # nats: what float32 states leave uncertain in the objective
SHORTER, SHORTEST = 0.5, 0.1  # after a step that led up, the next length is between these shares of it
Steps = deque[tuple[Tensor, Tensor]]  # steps of L-BFGS and changes of the gradient, (layers, hidden, 2); 0: not taken


@dataclass(frozen=True)
class Fit:
    """Probes of one strength and their certificates."""

    weights: Tensor  # (layers, hidden, 2) float32
    objective: Tensor  # (layers, 2) float64, nats
    gap: Tensor  # (layers, 2) float64, nats: the objective exceeds its optimum by no more
    passes: int  # over the windows


class Solver:
    """Fits probes on all windows of `features`. Its Hessians take 32 * layers * features^2 bytes."""

    def __init__(self, features: Features, settings: Convex) -> None:
        self.features, self.settings = features, settings
        self.scale = feature_scale(features)[..., None]  # (layers, hidden, 1)
        layers, hidden, _ = self.scale.shape
        self.z = self.scale.new_zeros(layers, hidden, 2)
        self.l2 = 0.0
        self.steps: Steps = deque(maxlen=HISTORY)

    def fit(self, l2: float) -> Fit:
        """Minimise the objective until every layer and side is within the settings' gap.

        The first fit comes down from the penalty START. NumericsError if a fit takes more than max_passes.
        """
        if not self.steps:
            stronger = START
            while stronger > STEP / 2 * l2:
                self._fit(stronger)
                stronger /= STEP
        return self._fit(l2)

    def _fit(self, l2: float) -> Fit:
        gap, max_passes = self.settings.gap, self.settings.max_passes
        # a penalty's share of the change of the gradient is l2 times the step
        self.steps = deque(((step, change + (l2 - self.l2) * step) for step, change in self.steps), maxlen=HISTORY)
        self.l2 = l2
        value, gradient = self._objective(self.z)
        curvature = self._sampled_hessian()
        length = torch.ones_like(value)
        with progress_bar(f"fitting probes, l2 {l2:g}", total=max_passes, unit="pass") as progress:
            for passes in range(1, max_passes + 1):
                bound = gradient.square().sum(1) / (2 * l2)
                progress.set_postfix(gap=f"{bound.max():.3f}", refresh=False)
                progress.update()
                unfinished = bound > gap
                if passes == max_passes or not unfinished.any():
                    break
                direction = _direction(gradient, self.steps, curvature) * unfinished[:, None]
                slope = (gradient * direction).sum(1)
                step = length[:, None] * direction
                new_value, new_gradient = self._objective(self.z + step)
                taken = unfinished & (new_value <= value + ARMIJO * length * slope + ROUNDING)
                step = torch.where(taken[:, None], step, 0.0)
                change = torch.where(taken[:, None], new_gradient - gradient, 0.0)
                self.steps.append((step, change))
                # where the step led up: the lowest point of the parabola through what is known of the line
                excess = (new_value - value - length * slope).clamp(min=1e-30)
                parabola = -slope * length.square() / (2 * excess)
                shorter = torch.minimum(torch.maximum(parabola, SHORTEST * length), SHORTER * length)
                length = torch.where(taken | ~unfinished, 1.0, shorter)
                value = torch.where(taken, new_value, value)
                self.z, gradient = self.z + step, gradient + change
        if unfinished.any():
            layer = int(bound.amax(1).argmax())
            raise NumericsError(
                f"model {self.features.encoder.name}, layer {layer}, l2 {l2:g}: after {passes} passes the probe may be "
                f"{bound.max():.2g} nats from its optimum, above convex.gap {gap:g}; raise convex.max_passes"
            )
        return Fit(self.weights(self.z), value, bound, passes)

    def weights(self, z: Tensor) -> Tensor:
        """The vectors (layers, hidden, 2) float32 that score hidden states."""
        return (z / self.scale).float()

    def _objective(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Value (layers, 2) and gradient (layers, hidden, 2) at z, both float64."""
        loss, gradient = mean_loss(self.features, self.weights(z))
        return loss + self.l2 / 2 * z.square().sum(1), gradient / self.scale + self.l2 * z

    def _sampled_hessian(self) -> Tensor:
        """Cholesky factors (layers, 2, hidden, hidden) float64 of the Hessian at z over evenly spread windows.

        The Hessian of a window is the covariance of its states under the probabilities of its tokens.
        """
        weights = self.weights(self.z)
        layers, hidden, sides = weights.shape
        total = weights.new_zeros(layers, sides, hidden, hidden)
        every = max(1, len(self.features.by_length) // SAMPLE)
        sampled = first = 0  # windows; of the blocks so far
        for block in self.features.blocks():
            (part,) = block.parts
            chosen = list(range(-first % every, part.shape[1], every))  # of a short block perhaps none
            first += part.shape[1]
            states = part[:, chosen].float()  # (layers, chosen, tokens, hidden)
            flat = states.flatten(1, 2)
            scores = token_scores(flat, weights).unflatten(1, states.shape[1:3])
            probability = scores.softmax(2)[..., None, :]  # (layers, chosen, tokens, 1, 2)
            flat = flat / self.scale[:, None, :, 0].float()
            for side in range(sides):
                weighted = flat * probability[..., side].flatten(1, 2)
                mean = weighted.unflatten(1, states.shape[1:3]).sum(2)
                total[:, side] += torch.bmm(flat.transpose(1, 2), weighted) - torch.bmm(mean.transpose(1, 2), mean)
            sampled += len(chosen)
        total, count = processes.summed(total.double(), total.new_tensor(sampled).double())
        total.div_(count).diagonal(dim1=-2, dim2=-1).add_(1.01 * self.l2)
        return torch.linalg.cholesky(total)


def mean_loss(features: Features, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy (layers, 2) in nats, mean over the windows with a target, and its gradient; both float64.

    weights (layers, hidden, 2); the gradient has their shape.
    """
    loss = weights.new_zeros(len(weights), 2, dtype=torch.float64)
    gradient = torch.zeros_like(weights, dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.float64, device=weights.device)
    for block in features.blocks():
        block_loss, block_gradient, block_counts = summed_loss(block, weights[..., None])
        loss += block_loss[..., 0]
        gradient += block_gradient[..., 0]
        counts += block_counts
    loss, gradient, counts = processes.summed(loss, gradient, counts)
    counts = counts.clamp(min=1)
    return loss / counts, gradient / counts


def feature_scale(features: Features) -> Tensor:
    """Standard deviation of each feature over all tokens, (layers, hidden) float64; 1 for a constant feature.

    Means and squared deviations of the blocks are combined as Chan, Golub and LeVeque (1979) do, so that a large mean
    takes no digits from a small variance.
    """
    count = 0
    mean = squares = torch.zeros((), dtype=torch.float64, device=features.encoder.device)
    for block in features.blocks():
        states = block.parts[0].flatten(1, 2).double()
        size, block_mean = states.shape[1], states.mean(1)
        block_squares = (states - block_mean[:, None]).square().sum(1)
        shift = block_mean - mean
        squares = squares + (block_squares + shift.square() * (count * size / (count + size)))
        mean = mean + shift * (size / (count + size))
        count += size
    total, weighted_mean = processes.summed(torch.full_like(mean, count), count * mean)
    (squares,) = processes.summed(squares + count * (mean - weighted_mean / total).square())
    deviation = (squares / total).sqrt()
    return torch.where(deviation > 1e-6, deviation, 1.0)


def _direction(gradient: Tensor, steps: Steps, curvature: Tensor) -> Tensor:
    """Minus the gradient, times the inverse Hessian as L-BFGS's two loops and the sampled Hessian estimate it."""
    direction = -gradient
    memory = []
    for step, change in reversed(steps):
        product = (step * change).sum(1)
        inverse = torch.where(product > 1e-16, 1 / product, 0.0)
        share = inverse * (step * direction).sum(1)
        direction = direction - share[:, None] * change
        memory.append((step, change, inverse, share))
    solved = torch.cholesky_solve(direction.transpose(1, 2)[..., None], curvature)
    direction = solved[..., 0].transpose(1, 2)
    for step, change, inverse, share in reversed(memory):
        direction = direction + step * (share - inverse * (change * direction).sum(1))[:, None]
    return direction


def fit_optimum(features: Features, validation: Features | None, settings: Convex) -> Probes:
    """Probes at the optimum for each l2 of the settings, from the strongest to the weakest.

    The certificates give each layer's loss on the windows of `validation` too, in nats; None: not known.
    """
    solver = Solver(features, settings)
    weights: list[np.ndarray] = []
    certificates: list[dict[str, float | int | None]] = []
    strengths = sorted(settings.l2, reverse=True)
    for l2 in strengths:
        fit = solver.fit(l2)
        loss = None if validation is None else mean_loss(validation, fit.weights)[0].mean(1)  # (layers,)
        weights.append(fit.weights.cpu().numpy())
        for layer in range(len(fit.weights)):
            certificate = {
                "layer": layer,
                "l2": l2,
                "validation_loss": None if loss is None else float(loss[layer]),
                "objective": float(fit.objective[layer].mean()),
                "gap": float(fit.gap[layer].max()),
                "passes": fit.passes,
            }
            certificates.append(certificate)
    return Probes([Readout("convex", l2=l2) for l2 in strengths], np.stack(weights), certificates=certificates)

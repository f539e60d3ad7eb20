"""The convex fit against scikit-learn and SciPy in float64, and its certificate against the true optimum."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from stages.qa.encoding.features import Batch
from stages.qa.errors import NumericsError
from stages.qa.probing.convex import feature_scale, fit, fit_optimum
from stages.qa.sections import Convex

LAYERS, HIDDEN = 2, 6
SETTINGS = Convex(l2=[1e-4, 1e-1, 10.0], held_out=0.2, gap=1e-4, max_passes=300, allow_missed_gap=False)


class Given:
    """Random hidden states of windows of several lengths, in place of an encoder's."""

    def __init__(self, windows: int = 60, seed: int = 0, signal: float = 2.0) -> None:
        draw = np.random.default_rng(seed)
        self.lengths = draw.integers(3, 9, windows)
        self.targets = np.stack([draw.integers(0, self.lengths), draw.integers(0, self.lengths)], axis=-1)
        self.states = [draw.normal(5, 1, (LAYERS, n, HIDDEN)) * 3 ** np.arange(HIDDEN) for n in self.lengths]
        for states, target in zip(self.states, self.targets, strict=True):
            states[1, target[0]] += signal  # layer 1 knows the start
        self.windows = range(windows)
        self.encoder = SimpleNamespace(name="given", device=torch.device("cpu"))

    def batches(self, order: np.ndarray, batch_size: int):
        for place in range(0, len(order), batch_size):
            rows = order[place : place + batch_size]
            yield Batch.packed(
                rows=rows,
                states=torch.from_numpy(np.concatenate([self.states[row] for row in rows], axis=1)).float(),
                lengths=torch.from_numpy(self.lengths[rows]),
                targets=torch.from_numpy(self.targets[rows]),
            )


def reference(given: Given, layer: int, side: int, l2: float, scale: np.ndarray) -> tuple[float, np.ndarray]:
    """The optimum by SciPy in float64, window by window."""
    states = [states[layer].astype(np.float32).astype(float) / scale for states in given.states]

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = 0.0, np.zeros_like(z)
        for x, target in zip(states, given.targets[:, side], strict=True):
            scores = x @ z
            loss += logsumexp(scores) - scores[target]
            gradient += np.exp(scores - logsumexp(scores)) @ x - x[target]
        return loss / len(states) + l2 / 2 * z @ z, gradient / len(states) + l2 * z

    found = minimize(objective, np.zeros(HIDDEN), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    return float(found.fun), found.x / scale


def test_fit_equals_scipy_and_its_certificate_holds() -> None:
    given = Given()
    scale = feature_scale(given)
    stacked = np.concatenate(given.states, axis=1).astype(np.float32)
    np.testing.assert_allclose(scale.numpy(), stacked.astype(float).std(1), rtol=1e-6)
    l2 = torch.tensor([1e-3, 1e-1], dtype=torch.float64)
    zero = torch.zeros(LAYERS, HIDDEN, 2, 2)
    rough = fit(given, np.arange(60), scale, l2, zero, SETTINGS.model_copy(update={"gap": 1e-2}))
    fine = fit(given, np.arange(60), scale, l2, zero, SETTINGS.model_copy(update={"gap": 1e-5}))
    assert rough.passes < fine.passes < 300
    for layer in range(LAYERS):
        for side in range(2):
            for variant in range(2):
                best, weights = reference(given, layer, side, float(l2[variant]), scale[layer].numpy())
                place = layer, side, variant
                for found in (rough, fine):
                    assert -1e-6 <= found.objective[place] - best <= found.gap[place] + 1e-6
                close = np.sqrt(2 * 1e-5 / float(l2[variant]))  # strong convexity bounds the distance in z as well
                distance = (fine.weights[layer, :, side, variant].numpy() - weights) * scale[layer].numpy()
                assert np.linalg.norm(distance) <= close


def test_windows_of_two_tokens_are_logistic_regression() -> None:
    """A softmax over two tokens is a logistic regression on their difference: scikit-learn solves that one."""
    given = Given()
    given.lengths[:] = 2
    given.states = [states[:, :2] for states in given.states]
    given.targets %= 2
    scale = torch.ones(LAYERS, HIDDEN, dtype=torch.float64)
    l2 = torch.tensor([0.05], dtype=torch.float64)
    exact = SETTINGS.model_copy(update={"gap": 1e-8, "max_passes": 500})
    found = fit(given, np.arange(60), scale, l2, torch.zeros(LAYERS, HIDDEN, 2, 1), exact)
    for layer in range(LAYERS):
        difference = np.stack([states[layer, 1] - states[layer, 0] for states in given.states]).astype(np.float32)
        judge = LogisticRegression(C=1 / (0.05 * 60), fit_intercept=False, tol=1e-10, max_iter=10000)
        judge.fit(difference, given.targets[:, 0])
        np.testing.assert_allclose(found.weights[layer, :, 0, 0], judge.coef_[0], rtol=0, atol=1e-3)


def test_strength_is_chosen_on_held_out_articles() -> None:
    given = Given(windows=200, signal=3.0)
    articles = np.repeat(np.arange(10), 20)
    optimum = fit_optimum(given, articles, SETTINGS)
    assert all(certificate["gap"] <= 1e-4 for certificate in optimum.certificates)
    assert optimum.certificates[0]["l2_articles"] == 2
    assert optimum.certificates[0]["l2"] == 10.0  # layer 0 is noise: the strongest penalty wins
    assert optimum.certificates[1]["l2"] < 10.0  # layer 1 holds the start
    right = [
        (given.states[row][1] @ optimum.weights[0, 1, :, 0]).argmax() == given.targets[row, 0] for row in range(200)
    ]
    assert np.mean(right) > 0.8


def test_a_missed_gap_fails_unless_allowed() -> None:
    hasty = SETTINGS.model_copy(update={"max_passes": 1})
    with pytest.raises(NumericsError, match=r"model given, layer \d: after 1 passes .* raise convex.max_passes"):
        fit_optimum(Given(), np.repeat(np.arange(6), 10), hasty)
    allowed = hasty.model_copy(update={"allow_missed_gap": True})
    assert fit_optimum(Given(), np.repeat(np.arange(6), 10), allowed).certificates[0]["gap"] > 1e-4

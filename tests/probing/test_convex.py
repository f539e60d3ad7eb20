"""The convex fit against scikit-learn and SciPy in float64, and its certificate against the true optimum."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from stages.qa.errors import NumericsError
from stages.qa.files import write_json
from stages.qa.probing import convex
from stages.qa.probing.convex import Solver, feature_scale, fit_optimum
from stages.qa.probing.readouts import Probes, choose_l2, save_probes
from stages.qa.sections import Convex
from tests.batches import Given

LAYERS, HIDDEN = 2, 6
SETTINGS = Convex(l2=[1e-4, 1e-1, 10.0], gap=1e-4, max_passes=300)


def given_windows(windows: int = 60, signal: float = 2.0, tokens: int = 9) -> Given:
    """Layer 1 knows the start, layer 0 knows nothing."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, tokens, windows) if tokens > 3 else np.full(windows, 2)
    targets = np.stack([draw.integers(0, lengths), draw.integers(0, lengths)], axis=-1)
    states = [draw.normal(5, 1, (LAYERS, n, HIDDEN)) * 3 ** np.arange(HIDDEN) for n in lengths]
    for of_window, target in zip(states, targets, strict=True):
        of_window[1, target[0]] += signal
    return Given([torch.from_numpy(one).float() for one in states], targets)


def reference(given: Given, layer: int, side: int, l2: float, scale: np.ndarray) -> tuple[float, np.ndarray]:
    """The optimum by SciPy in float64, window by window."""
    states = [states[layer].numpy().astype(float) / scale for states in given.states]

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
    given = given_windows()
    scale = feature_scale(given).numpy()
    stacked = np.concatenate(given.states, axis=1)
    np.testing.assert_allclose(scale, stacked.astype(float).std(1), rtol=1e-6)
    passes = {}
    for gap in (1e-2, 1e-5):
        solver = Solver(given, SETTINGS.model_copy(update={"gap": gap}))
        for l2 in (1e-1, 1e-3):  # the second starts from the first
            fit = solver.fit(l2)
            passes[gap, l2] = fit.passes
            for layer in range(LAYERS):
                for side in range(2):
                    best, weights = reference(given, layer, side, l2, scale[layer])
                    excess = float(fit.objective[layer, side]) - best
                    assert -1e-6 <= excess <= float(fit.gap[layer, side]) + 1e-6 <= gap + 1e-6
                    close = np.sqrt(2 * gap / l2)  # strong convexity bounds the distance in z as well
                    distance = (fit.weights[layer, :, side].numpy() - weights) * scale[layer]
                    assert np.linalg.norm(distance) <= close
    assert passes[1e-2, 1e-3] < passes[1e-5, 1e-3] < 100


def test_windows_of_two_tokens_are_logistic_regression() -> None:
    """A softmax over two tokens is a logistic regression on their difference: scikit-learn solves that one."""
    given = given_windows(tokens=2)
    solver = Solver(given, SETTINGS.model_copy(update={"gap": 1e-8, "max_passes": 500}))
    fit = solver.fit(0.05)
    for layer in range(LAYERS):
        scale = solver.scale[layer, :, 0].numpy()
        difference = np.stack([states[layer, 1] - states[layer, 0] for states in given.states]) / scale
        judge = LogisticRegression(C=1 / (0.05 * 60), fit_intercept=False, tol=1e-10, max_iter=10000)
        judge.fit(difference, given.targets[:, 0])
        np.testing.assert_allclose(fit.weights[layer, :, 0] * scale, judge.coef_[0], rtol=0, atol=1e-3)


def test_validation_articles_choose_one_l2_for_all_layers_and_models(tmp_path: Path) -> None:
    """Layer 0 is noise and wants the strongest penalty; layer 1 knows the start, which counts for more."""
    validation = given_windows(windows=80).part(np.arange(50, 80))
    probes = fit_optimum(given_windows(windows=80).part(np.arange(50)), validation, SETTINGS)
    assert [readout.l2 for readout in probes.readouts] == [10.0, 1e-1, 1e-4]
    assert all(row["gap"] <= SETTINGS.gap for row in probes.certificates)
    losses = {(row["layer"], row["l2"]): row["validation_loss"] for row in probes.certificates}
    expected = []
    for row, l2 in enumerate([10.0, 1e-1, 1e-4]):
        for layer in range(LAYERS):
            losses_of = []
            for window in range(50, 80):
                scores = validation.states[window][layer].numpy() @ probes.weights[row, layer]
                target = validation.targets[window]
                losses_of.append([logsumexp(scores[:, side]) - scores[target[side], side] for side in range(2)])
            np.testing.assert_allclose(losses[layer, l2], np.mean(losses_of), rtol=1e-4)
            expected.append((l2, np.mean(losses_of)))
    for name in ("one", "other"):
        save_probes(tmp_path / name, probes)
    choice = choose_l2({tmp_path / "one": "one", tmp_path / "other": "other"})
    means = {l2: np.mean([loss for other, loss in expected if other == l2]) for l2 in (1e-4, 1e-1, 10.0)}
    assert choice["l2"] == min(means, key=means.get) == 1e-1
    assert not choice["at_edge"]
    assert [row["l2"] for row in choice["validation_loss"]] == [1e-4, 1e-1, 10.0]


def test_a_choice_at_the_edge_and_no_choice(tmp_path: Path) -> None:
    given = given_windows()
    save_probes(tmp_path / "two", fit_optimum(given, given, SETTINGS.model_copy(update={"l2": [10.0, 1e-1]})))
    assert choose_l2({tmp_path / "two": "two"})["l2"] == 1e-1  # judged on its own windows, the weakest penalty wins
    assert choose_l2({tmp_path / "two": "two"})["at_edge"]
    save_probes(tmp_path / "one", fit_optimum(given, None, SETTINGS.model_copy(update={"l2": [0.5]})))
    assert choose_l2({tmp_path / "one": "one"}) == {"l2": 0.5, "at_edge": False, "validation_loss": []}
    save_probes(tmp_path / "none", Probes.empty(2, 3))
    assert choose_l2({tmp_path / "none": "none"})["l2"] is None


def test_each_curve_counts_once_in_the_choice(tmp_path: Path) -> None:
    for name, losses in ("tuned", (3.0, 2.0)), ("again", (3.2, 2.0)), ("base", (1.0, 2.2)):
        rows = [{"layer": 0, "l2": l2, "validation_loss": loss} for l2, loss in zip((0.1, 1.0), losses, strict=True)]
        write_json(tmp_path / name / "certificates.json", rows)
    runs = {tmp_path / "tuned": "tuned", tmp_path / "again": "tuned", tmp_path / "base": "base"}
    choice = choose_l2(runs)  # 1.0 would win as a mean over the three runs
    assert choice["l2"] == 0.1
    assert [row["loss"] for row in choice["validation_loss"]] == pytest.approx([2.05, 2.1])


def test_a_missed_gap_fails() -> None:
    hasty = SETTINGS.model_copy(update={"max_passes": 1})
    with pytest.raises(NumericsError, match=r"model given, layer \d, l2 10: after 1 passes .* raise convex.max_passes"):
        fit_optimum(given_windows(), None, hasty)


def test_the_sampled_hessian_is_that_of_the_objective() -> None:
    """By finite differences of the gradient, with a sample of all windows."""
    given = given_windows()
    solver = Solver(given, SETTINGS)
    solver.l2 = 0.3
    solver.z = torch.from_numpy(np.random.default_rng(1).normal(0, 0.3, (LAYERS, HIDDEN, 2)))
    factor = solver._sampled_hessian()
    hessian = factor @ factor.transpose(-1, -2) - 0.01 * 0.3 * torch.eye(HIDDEN)
    for feature in range(HIDDEN):
        step = torch.zeros_like(solver.z)
        step[:, feature] = 1e-2
        up, down = (solver._objective(solver.z + sign * step)[1] for sign in (1, -1))
        difference = ((up - down) / 2e-2).transpose(1, 2)  # (layers, 2, hidden)
        np.testing.assert_allclose(hessian[..., feature], difference, rtol=0, atol=2e-4)


def test_the_sampled_hessian_of_a_few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every twentieth window: most blocks, which have about ten windows, have none of them."""
    monkeypatch.setattr(convex, "SAMPLE", 3)
    given = given_windows()
    solver = Solver(given, SETTINGS)
    solver.z = torch.from_numpy(np.random.default_rng(1).normal(0, 0.3, (LAYERS, HIDDEN, 2)))
    factor = solver._sampled_hessian()
    expected = np.zeros((LAYERS, 2, HIDDEN, HIDDEN))
    for layer, side in np.ndindex(LAYERS, 2):
        z, scale = solver.z[layer, :, side].numpy(), solver.scale[layer, :, 0].numpy()
        for row in given.by_length[::20]:
            x = given.states[row][layer].numpy() / scale
            probability = np.exp(x @ z - logsumexp(x @ z))
            expected[layer, side] += np.cov(x.T, aweights=probability, ddof=0) / 3
    np.testing.assert_allclose(factor @ factor.transpose(-1, -2), expected, rtol=0, atol=1e-4)


def test_a_weak_penalty_alone_is_reached_from_stronger_ones() -> None:
    given = given_windows()
    alone = Solver(given, SETTINGS)
    fit = alone.fit(1e-3)
    assert len(alone.steps) > fit.passes  # those of stronger penalties are remembered
    after = Solver(given, SETTINGS)
    for l2 in (10.0, 1.0, 1e-1, 1e-2):
        after.fit(l2)
    assert after.fit(1e-3).objective.numpy() == pytest.approx(fit.objective.numpy(), abs=2 * SETTINGS.gap)

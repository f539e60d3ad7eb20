"""Scalar mixes against numpy by hand, and the two numbers that say where in depth they lie."""

import numpy as np
import pytest
import torch

from stages.qa.encoding.features import Batch
from stages.qa.probing.learners import GradientLearner, load_weights, save_module
from stages.qa.probing.mixing import ScalarMixes
from stages.qa.probing.mlp import LayerMlps
from stages.qa.report.depth import centre_of_gravity, expected_layer
from tests.probing.test_code_length import batches


def test_a_mix_is_the_weighted_sum_of_its_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    mixes, states = ScalarMixes(4, 5), torch.randn(4, 11, 5, generator=generator)
    mixes.see(states)
    with torch.no_grad():
        mixes.raw.copy_(torch.randn(4, 4, generator=generator))
        mixes.vectors.copy_(torch.randn(5, 4, 2, generator=generator))
    found, raw = mixes(states).detach().numpy(), mixes.raw.detach().double().numpy()
    normed = states.numpy() / np.sqrt((states.numpy() ** 2).mean((1, 2), keepdims=True))
    for top in range(4):
        weights = np.exp(raw[top, : top + 1]) / np.exp(raw[top, : top + 1]).sum()
        mixed = np.tensordot(weights, normed[: top + 1], axes=1)
        np.testing.assert_allclose(found[top], mixed @ mixes.vectors.detach().numpy()[:, top], rtol=1e-4, atol=1e-5)


def test_the_mix_finds_the_layer_that_was_planted() -> None:
    mixes = ScalarMixes(2, 6)
    learner = GradientLearner(mixes, 3e-2, windows=10**6)
    for batch in batches(200, planted=True):
        learner.update(0, 4, batch)
    weights = mixes.weights().detach()
    assert weights.sum(-1).tolist() == pytest.approx([1, 1])
    assert weights[0].tolist() == [1, 0]  # the mix of layer 0 alone cannot see layer 1
    assert weights[1, 1] > 0.9
    assert centre_of_gravity(weights[1].tolist()) > 0.9


def test_centre_of_gravity_and_expected_layer_by_hand() -> None:
    assert centre_of_gravity([0.5, 0.25, 0.25]) == pytest.approx(0.75)
    assert expected_layer([10, 10, 40, 50]) == pytest.approx((2 * 30 + 3 * 10) / 40)
    assert expected_layer([10, 30, 20, 50]) == pytest.approx((1 * 20 - 2 * 10 + 3 * 30) / 40)
    assert np.isnan(expected_layer([10, 9, 10]))


def test_a_network_reads_what_no_direction_holds(tmp_path) -> None:
    """The target is where the first feature is far from 0, up or down: no linear score can say so."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((16,), 10)
    mlp = LayerMlps(1, 4, 16, generator=generator)
    linear, network = GradientLearner(ScalarMixes(1, 4), 1e-2, windows=10**6), GradientLearner(mlp, 1e-2, windows=10**6)
    right = {"linear": 0.0, "network": 0.0}
    for step in range(400):
        states = 0.3 * torch.randn(1, 160, 4, generator=generator)
        targets = torch.randint(10, (16, 1), generator=generator).expand(16, 2)
        sign = 2 * torch.randint(2, (16,), generator=generator) - 1
        states[0, torch.arange(16) * 10 + targets[:, 0], 0] = 3.0 * sign
        for name, learner in (("linear", linear), ("network", network)):
            learner.update(0, 16, Batch.packed(rows=np.arange(16), states=states, lengths=lengths, targets=targets))
            if step >= 350:
                best = learner.module(states)[0, :, 0].view(16, 10).argmax(-1)
                right[name] += (best == targets[:, 0]).float().mean().item() / 50
    assert right["network"] > 0.95
    assert right["linear"] < 0.8
    save_module(tmp_path / "mlp.safetensors", mlp)
    again = LayerMlps(1, 4, 16, generator=torch.Generator())
    load_weights(tmp_path / "mlp.safetensors", again)
    assert torch.equal(again(states), mlp(states))

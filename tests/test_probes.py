"""The probe bank against the original study's own updates, autograd, and probes trained alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stages.qa.features import Batch
from stages.qa.probes import ProbeBank, initial_weights, summed_loss, with_dropout

GOLDEN = Path(__file__).parent / "golden" / "original_probe_updates.npz"


def random_batch(generator: torch.Generator, *, layers: int = 3, hidden: int = 5) -> Batch:
    lengths = torch.tensor([4, 7, 2])
    states = torch.randn(layers, int(lengths.sum()), hidden, generator=generator)
    return Batch(states=states, lengths=lengths, targets=torch.tensor([[1, 3], [0, 0], [1, 1]]))


@pytest.mark.parametrize("rate", ["3e-05", "0.01"])
def test_equals_the_original_updates(rate: str) -> None:
    golden = np.load(GOLDEN)
    weights = torch.from_numpy(golden["init"]).T.reshape(1, 16, 2, 1)
    bank = ProbeBank(weights, torch.tensor([float(rate)]), max_grad_norm=1.0)
    after = dict(zip(golden["updates"].tolist(), golden[f"weights_lr{rate}"], strict=True))
    for step, (features, start, end) in enumerate(zip(golden["features"], golden["start"], golden["end"], strict=True)):
        batch, tokens, hidden = features.shape
        bank.update(
            Batch(
                states=torch.from_numpy(features).reshape(1, batch * tokens, hidden),
                lengths=torch.full((batch,), tokens),
                targets=torch.from_numpy(np.stack([start, end], axis=-1)).long(),
            )
        )
        if step + 1 in after:
            expected = after.pop(step + 1).T
            moved = np.abs(expected - golden["init"].T).max()
            np.testing.assert_allclose(bank.weights[0, :, :, 0].numpy(), expected, rtol=0, atol=1e-4 * moved)
    assert not after


def test_gradient_equals_autograd_over_a_padded_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = random_batch(generator)
    batch.targets[2] = -1  # no target
    batch.targets[1, 1] = 7  # past the end: no target
    weights = torch.randn(3, 5, 2, 4, generator=generator)
    loss, gradient, counts = summed_loss(batch, weights)
    assert counts.tolist() == [2, 1]
    leaf = weights.clone().requires_grad_()
    for layer in range(3):
        for variant in range(4):
            total = torch.zeros(())
            for side in range(2):
                rows, targets, first = [], [], 0
                for window, length in enumerate(batch.lengths.tolist()):
                    scores = batch.states[layer, first : first + length] @ leaf[layer, :, side, variant]
                    rows.append(torch.cat([scores, torch.full((7 - length,), -torch.inf)]))
                    target = int(batch.targets[window, side])
                    targets.append(target if 0 <= target < length else -100)
                    first += length
                one = cross_entropy(torch.stack(rows), torch.tensor(targets), ignore_index=-100, reduction="sum")
                torch.testing.assert_close(loss[layer, side, variant], one.detach())
                total = total + one
            total.backward()
    torch.testing.assert_close(gradient, leaf.grad)


def test_variants_do_not_feel_each_other() -> None:
    together, noise = torch.Generator().manual_seed(1), np.random.default_rng(1)
    weights = initial_weights(3, 5, [7, 8], std=0.02)
    rates = torch.tensor([1e-2, 3e-3])
    bank = ProbeBank(weights, rates, max_grad_norm=0.01)
    alone = [ProbeBank(initial_weights(3, 5, [7 + i], std=0.02), rates[[i]], max_grad_norm=0.01) for i in range(2)]
    for _ in range(20):
        batch = with_dropout(random_batch(together), 0.1, noise)
        bank.update(batch)
        for other in alone:
            other.update(batch)
    for i in range(2):
        torch.testing.assert_close(bank.weights[..., [i]], alone[i].weights, rtol=1e-5, atol=1e-7)


def test_batch_without_targets_changes_nothing() -> None:
    batch = random_batch(torch.Generator().manual_seed(2))
    batch.targets[:] = -1
    bank = ProbeBank(torch.ones(3, 5, 2, 1), torch.tensor([0.1]), max_grad_norm=1.0)
    assert (bank.update(batch) == 0).all()
    assert (bank.weights == 1).all()


def test_dropout_keeps_the_mean_and_shares_its_mask() -> None:
    batch = Batch(torch.ones(2, 4000, 5), torch.tensor([4000]), torch.tensor([[0, 0]]))
    dropped = with_dropout(batch, 0.1, np.random.default_rng(0)).states
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropped[0], dropped[1])
    assert with_dropout(batch, 0.0, np.random.default_rng(0)) is batch

"""The probe bank against the original study's own updates, autograd, and probes trained alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.qa.encoding.features import Batch
from stages.qa.probing.probes import ProbeBank, initial_weights, summed_loss, train_probes, with_dropout
from stages.qa.sections import Probe
from tests.batches import Given, batch_of, padded_batch_of

GOLDEN = Path(__file__).parents[1] / "golden" / "original_probe_updates.npz"


BatchOf = Callable[..., Batch]


def random_states(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(3, tokens, 5, generator=generator) for tokens in (4, 7, 2)]


TARGETS = torch.tensor([[1, 3], [0, 0], [1, 1]])
both_ways = pytest.mark.parametrize("batch_of", [batch_of, padded_batch_of], ids=["as on a CPU", "as on a GPU"])


@both_ways
@pytest.mark.parametrize("rate", ["3e-05", "0.01"])
def test_equals_the_original_updates(rate: str, batch_of: BatchOf) -> None:
    golden = np.load(GOLDEN)
    weights = torch.from_numpy(golden["init"]).T.reshape(1, 16, 2, 1)
    bank = ProbeBank(weights, torch.tensor([float(rate)]), max_grad_norm=1.0)
    after = dict(zip(golden["updates"].tolist(), golden[f"weights_lr{rate}"], strict=True))
    for step, (features, start, end) in enumerate(zip(golden["features"], golden["start"], golden["end"], strict=True)):
        states = [torch.from_numpy(window)[None] for window in features]
        bank.update(batch_of(states, torch.from_numpy(np.stack([start, end], axis=-1)).long()))
        if step + 1 in after:
            expected = after.pop(step + 1).T
            moved = np.abs(expected - golden["init"].T).max()
            np.testing.assert_allclose(bank.weights[0, :, :, 0].numpy(), expected, rtol=0, atol=1e-4 * moved)
    assert not after


@both_ways
def test_gradient_equals_autograd_over_a_padded_softmax(batch_of: BatchOf) -> None:
    generator = torch.Generator().manual_seed(0)
    states = random_states(generator)
    targets = TARGETS.clone()
    targets[2] = -1  # no target
    targets[1, 1] = 7  # past the end: no target
    weights = torch.randn(3, 5, 2, 4, generator=generator)
    loss, gradient, counts = summed_loss(batch_of(states, targets), weights)
    assert counts.tolist() == [2, 1]
    leaf = weights.clone().requires_grad_()
    for layer in range(3):
        for variant in range(4):
            total = torch.zeros(())
            for side in range(2):
                rows, wanted = [], []
                for of_window, (first, last) in zip(states, targets.tolist(), strict=True):
                    length = of_window.shape[1]
                    scores = of_window[layer] @ leaf[layer, :, side, variant]
                    rows.append(torch.cat([scores, torch.full((7 - length,), -torch.inf)]))
                    target = (first, last)[side]
                    wanted.append(target if 0 <= target < length else -100)
                one = cross_entropy(torch.stack(rows), torch.tensor(wanted), ignore_index=-100, reduction="sum")
                torch.testing.assert_close(loss[layer, side, variant].float(), one.detach())
                total = total + one
            total.backward()
    torch.testing.assert_close(gradient.float(), leaf.grad)


def test_variants_do_not_feel_each_other() -> None:
    together = torch.Generator().manual_seed(1)
    weights = initial_weights(3, 5, [7, 8], std=0.02)
    rates = torch.tensor([1e-2, 3e-3])
    bank = ProbeBank(weights, rates, max_grad_norm=0.01)
    alone = [ProbeBank(initial_weights(3, 5, [7 + i], std=0.02), rates[[i]], max_grad_norm=0.01) for i in range(2)]
    for step in range(20):
        batch = with_dropout(batch_of(random_states(together), TARGETS), 0.1, step)
        bank.update(batch)
        for other in alone:
            other.update(batch)
    for i in range(2):
        torch.testing.assert_close(bank.weights[..., [i]], alone[i].weights, rtol=1e-5, atol=1e-7)


def test_batch_without_targets_changes_nothing() -> None:
    batch = batch_of(random_states(torch.Generator().manual_seed(2)), torch.full((3, 2), -1))
    bank = ProbeBank(torch.ones(3, 5, 2, 1), torch.tensor([0.1]), max_grad_norm=1.0)
    loss, counts = bank.update(batch)
    assert (loss == 0).all()
    assert (counts == 0).all()
    assert (bank.weights == 1).all()


def states_of(batch: Batch) -> Tensor:
    return torch.cat([part.flatten(1, 2) for part in batch.parts], dim=1)


def test_dropout_keeps_the_mean_and_shares_its_mask() -> None:
    batch = batch_of([torch.ones(2, 2500, 5), torch.ones(2, 1500, 5)], torch.zeros(2, 2).long())
    dropped = states_of(with_dropout(batch, 0.1, 0))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropped[0], dropped[1])
    assert with_dropout(batch, 0.0, 0) is batch
    assert not torch.equal(states_of(with_dropout(batch, 0.1, 1)), dropped)
    assert (states_of(batch) == 1).all()  # what is kept stays whole


def test_a_windows_dropout_does_not_depend_on_its_batch() -> None:
    states = [torch.ones(2, 25, 5), torch.ones(2, 15, 5)]
    both = with_dropout(batch_of(states, torch.zeros(2, 2).long(), np.array([3, 8])), 0.5, 4, 1)
    alone = with_dropout(batch_of(states[1:], torch.zeros(1, 2).long(), np.array([8])), 0.5, 4, 1)
    as_one = with_dropout(padded_batch_of(states, torch.zeros(2, 2).long(), np.array([3, 8])), 0.5, 4, 1)
    assert torch.equal(both.parts[1], alone.parts[0])
    assert torch.equal(as_one.parts[0][:, 1:, :15], alone.parts[0])


def given_windows() -> Given:
    generator = torch.Generator().manual_seed(9)
    lengths = torch.randint(3, 9, (40,), generator=generator)
    states = [torch.randn(3, int(length), 5, generator=generator) for length in lengths]
    return Given(states, (torch.rand(40, 2, generator=generator) * lengths[:, None]).long().numpy())


SETTINGS = Probe(
    epochs=2,
    batch_size=8,
    learning_rates=[1e-2, 3e-4],
    seeds=[0, 3, 7],
    order_seed=1,
    init_std=0.02,
    dropout=0.1,
    max_grad_norm=1.0,
    feature_memory_gib=1.0,
    feature_file_gib=0.0,
)


def test_one_pass_over_seeds_and_rates_equals_training_each_alone() -> None:
    features = given_windows()
    together = train_probes(features, SETTINGS)
    assert len(together.readouts) == 2 * 2 * 3
    for rate in SETTINGS.learning_rates:
        for seed in SETTINGS.seeds:
            own = {"learning_rates": [rate], "seeds": [seed]}
            alone = train_probes(features, SETTINGS.model_copy(update=own))
            rows = [i for i, r in enumerate(together.readouts) if (r.learning_rate, r.seed) == (rate, seed)]
            assert [together.readouts[i] for i in rows] == alone.readouts
            np.testing.assert_allclose(together.weights[rows], alone.weights, rtol=1e-5, atol=1e-7)
            losses = [p[3:] for p in together.losses if p[1:3] == (rate, seed)]
            np.testing.assert_allclose(losses, [p[3:] for p in alone.losses], rtol=1e-5)

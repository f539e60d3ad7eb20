"""The probe bank against the original study's own updates, autograd, and probes trained alone."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stages.qa.encoding.features import Batch
from stages.qa.probing import probes
from stages.qa.probing.probes import ProbeBank, initial_weights, summed_loss, train_probes, with_dropout
from stages.qa.sections import Probe

GOLDEN = Path(__file__).parents[1] / "golden" / "original_probe_updates.npz"


def random_batch(generator: torch.Generator, *, layers: int = 3, hidden: int = 5) -> Batch:
    lengths = torch.tensor([4, 7, 2])
    states = torch.randn(layers, int(lengths.sum()), hidden, generator=generator)
    return Batch.packed(
        rows=np.arange(3), states=states, lengths=lengths, targets=torch.tensor([[1, 3], [0, 0], [1, 1]])
    )


@pytest.fixture(params=["window by window", "whole batches"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU, and as on a GPU."""
    if request.param == "whole batches":
        monkeypatch.setattr(Batch, "pieces", lambda batch: iter([(batch.states, batch.lengths, batch.targets)]))


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("rate", ["3e-05", "0.01"])
def test_equals_the_original_updates(rate: str) -> None:
    golden = np.load(GOLDEN)
    weights = torch.from_numpy(golden["init"]).T.reshape(1, 16, 2, 1)
    bank = ProbeBank(weights, torch.tensor([float(rate)]), max_grad_norm=1.0)
    after = dict(zip(golden["updates"].tolist(), golden[f"weights_lr{rate}"], strict=True))
    for step, (features, start, end) in enumerate(zip(golden["features"], golden["start"], golden["end"], strict=True)):
        batch, tokens, hidden = features.shape
        bank.update(
            Batch.packed(
                rows=np.arange(batch),
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


@pytest.mark.usefixtures("both_ways")
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
        batch = with_dropout(random_batch(together), 0.1, step)
        bank.update(batch)
        for other in alone:
            other.update(batch)
    for i in range(2):
        torch.testing.assert_close(bank.weights[..., [i]], alone[i].weights, rtol=1e-5, atol=1e-7)


def test_small_products_take_one_thread_and_leave_the_others_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    monkeypatch.setattr(probes, "token_scores", lambda *_: threads.append(torch.get_num_threads()) or 1 / 0)
    monkeypatch.setattr(probes, "SMALL", 7 * 30 + 1)  # the longest of the windows has 7 tokens
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for variants in (1, 2):
            weights = torch.ones(3, 5, 2, variants)
            with pytest.raises(ZeroDivisionError):
                summed_loss(random_batch(torch.Generator().manual_seed(2)), weights)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2]


def test_batch_without_targets_changes_nothing() -> None:
    batch = random_batch(torch.Generator().manual_seed(2))
    batch.targets[:] = -1
    bank = ProbeBank(torch.ones(3, 5, 2, 1), torch.tensor([0.1]), max_grad_norm=1.0)
    loss, counts = bank.update(batch)
    assert (loss == 0).all()
    assert (counts == 0).all()
    assert (bank.weights == 1).all()


def test_dropout_keeps_the_mean_and_shares_its_mask() -> None:
    batch = Batch.packed(np.array([3, 8]), torch.ones(2, 4000, 5), torch.tensor([2500, 1500]), torch.zeros(2, 2).long())
    dropped = with_dropout(batch, 0.1, 0).states
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropped[0], dropped[1])
    assert with_dropout(batch, 0.0, 0) is batch
    assert not torch.equal(with_dropout(batch, 0.1, 1).states, dropped)


def test_a_windows_dropout_does_not_depend_on_its_batch() -> None:
    states, lengths = torch.ones(2, 40, 5), torch.tensor([25, 15])
    both = Batch.packed(np.array([3, 8]), states, lengths, torch.zeros(2, 2).long())
    alone = Batch.packed(np.array([8]), states[:, 25:], lengths[1:], torch.zeros(1, 2).long())
    dropped = with_dropout(both, 0.5, 4, 1)
    assert torch.equal(dropped.states[:, 25:], with_dropout(alone, 0.5, 4, 1).states)
    assert torch.equal(dropped.states, torch.cat([states for states, _, _ in dropped.pieces()], dim=1))
    assert (both.states == 1).all()  # what is kept stays whole


class KeptFeatures:
    """Random hidden states in place of an encoder's."""

    def __init__(self, *, windows: int = 40, layers: int = 3, hidden: int = 5) -> None:
        generator = torch.Generator().manual_seed(9)
        self.encoder = SimpleNamespace(layers=layers, hidden=hidden, device=torch.device("cpu"))
        self.windows = range(windows)
        self.lengths = torch.randint(3, 9, (windows,), generator=generator)
        self.states = [torch.randn(layers, int(n), hidden, generator=generator) for n in self.lengths]
        self.targets = (torch.rand(windows, 2, generator=generator) * self.lengths[:, None]).long()

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        for place in range(0, len(order), batch_size):
            rows = order[place : place + batch_size]
            states = torch.cat([self.states[row] for row in rows], dim=1)
            yield Batch.packed(rows, states, self.lengths[rows], self.targets[rows])


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
    split="same",
    finetuning_share=0.5,
)


def test_one_pass_over_seeds_and_rates_equals_training_each_alone() -> None:
    features = KeptFeatures()
    together = train_probes(features, SETTINGS)
    assert len(together.readouts) == 2 * 2 * 3
    for rate in SETTINGS.learning_rates:
        for seed in SETTINGS.seeds:
            own = {"learning_rates": [rate], "seeds": [seed]}
            alone = train_probes(features, SETTINGS.model_copy(update=own))
            rows = [i for i, r in enumerate(together.readouts) if (r.learning_rate, r.seed) == (rate, seed)]
            assert [together.readouts[i] for i in rows] == alone.readouts
            np.testing.assert_allclose(together.weights[rows], alone.weights, rtol=1e-5, atol=1e-7)
            losses = [[p.epoch, p.loss] for p in together.losses if (p.learning_rate, p.seed) == (rate, seed)]
            np.testing.assert_allclose(losses, [[p.epoch, p.loss] for p in alone.losses], rtol=1e-5)

"""The online code against a hand-worked sum; labels that nothing tells are not compressed."""

import math

import numpy as np
import pytest
import torch

from stages.qa.encoding.features import Batch
from stages.qa.probing.code_length import CodeLength
from stages.qa.probing.probes import ProbeBank, summed_loss

CPU = torch.device("cpu")
LENGTHS = torch.tensor([9, 14, 11, 8])


def batches(number: int, *, planted: bool, seed: int = 0) -> list[Batch]:
    """Windows whose layer 1 has a feature that is high at start and another at end, if `planted`; layer 0 is noise."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for step in range(number):
        states = torch.randn(2, int(LENGTHS.sum()), 6, generator=generator)
        targets = (torch.rand(4, 2, generator=generator) * LENGTHS[:, None]).long()
        if planted:
            for side in range(2):
                states[1, torch.cumsum(LENGTHS, 0) - LENGTHS + targets[:, side], side] += 6
        found.append(Batch.packed(rows=4 * step + np.arange(4), states=states, lengths=LENGTHS, targets=targets))
    return found


def coded(
    found: list[Batch], rates: list[float], *, targets: np.ndarray | None = None, windows: int = 10**6
) -> CodeLength:
    code = CodeLength("gold", 2, 6, rates, windows=windows, max_grad_norm=1.0, device=CPU, targets=targets)
    for batch in found:
        code.update(0, 4, batch)
    return code


def test_equals_the_sum_of_each_batch_under_what_came_before() -> None:
    found, rates = batches(12, planted=True), [1e-3, 3e-2]
    found[3].targets[1] = -1  # a window without a target is not coded
    nats = np.zeros((2, 2, 2))  # rates, layers, sides
    for column, rate in enumerate(rates):
        bank = ProbeBank(torch.zeros(2, 6, 2, 1), torch.tensor([rate]), max_grad_norm=1.0)
        for batch in found:
            nats[column] += summed_loss(batch, bank.weights)[0][..., 0].numpy()
            bank.update(batch)
    likelihood = np.exp(-nats).mean(0)  # of the even mixture
    rows = coded(found, rates).rows()
    uniform = sum(2 * math.log2(n) for n in LENGTHS.tolist()) * 12 - 2 * math.log2(14)
    for layer, row in enumerate(rows):
        assert row.bits == pytest.approx(-np.log2(likelihood[layer]).sum(), rel=1e-5)
        assert row.uniform_bits == pytest.approx(uniform)
        assert row.positions == 2 * (12 * 4 - 1)


def test_the_first_batch_is_coded_uniformly_and_later_epochs_not_at_all() -> None:
    found = batches(2, planted=True)
    code = coded(found[:1], [0.1])
    assert all(row.compression == pytest.approx(1) for row in code.rows())
    before = code.rows()
    code.update(1, 4, found[1])
    assert code.rows() == before


def test_a_planted_signal_is_compressed_and_random_labels_are_not() -> None:
    found = batches(300, planted=True)
    gold = coded(found, [1e-3, 1e-2]).rows()
    assert gold[0].compression == pytest.approx(1, abs=0.05)  # layer 0 holds noise
    assert gold[1].compression > 2
    generator = np.random.default_rng(1)
    random = (generator.random((1200, 2)) * np.tile(LENGTHS.numpy(), 300)[:, None]).astype(np.int64)
    for row in coded(found, [1e-3, 1e-2], targets=random).rows():
        assert 0.9 < row.compression < 1.005


def test_only_so_many_windows_are_coded() -> None:
    found = batches(5, planted=True)
    assert coded(found, [0.1], windows=9).rows() == coded(found[:3], [0.1]).rows()  # whole batches of four

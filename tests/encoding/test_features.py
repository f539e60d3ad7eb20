"""Batches kept in memory and batches recomputed are the same batches."""

import numpy as np
import pytest
import torch

from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, load_encoder
from stages.qa.encoding.features import Features
from tests.conftest import CPU, TinyModel


@pytest.fixture(scope="module")
def encoder(tiny_model: TinyModel) -> Encoder:
    return load_encoder(tiny_model("distilbert"), device=CPU)


@pytest.fixture(scope="module")
def windows(encoder: Encoder, sample: list[Example]) -> Windows:
    return make_windows(sample[:23], encoder.tokenizer, max_seq_length=96, doc_stride=48, max_query_length=32)


def gib_for(encoder: Encoder, tokens: int) -> float:
    return 4 * encoder.layers * encoder.hidden * tokens / 2**30


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
@pytest.mark.parametrize("tokens", [10**6, 1000, 200, 1])
def test_each_window_once_in_the_given_order(encoder: Encoder, windows: Windows, batch_size: int, tokens: int) -> None:
    features = Features(encoder, windows, gib=gib_for(encoder, tokens))
    assert features.fits == (tokens >= windows.starts[-1])
    alone = [encode(encoder, windows, np.array([row])).states for row in range(len(windows))]
    for epoch in range(2):
        order = np.random.default_rng(epoch).permutation(len(windows))[: len(windows) - epoch]
        batches = list(features.batches(order, batch_size))
        assert [len(batch.lengths) for batch in batches] == [
            len(order[i : i + batch_size]) for i in range(0, len(order), batch_size)
        ]
        assert torch.cat([batch.lengths for batch in batches]).tolist() == windows.lengths[order].tolist()
        assert torch.cat([batch.targets for batch in batches]).tolist() == windows.targets[order].tolist()
        for batch in batches:
            assert batch.states.shape == (encoder.layers, int(batch.lengths.sum()), encoder.hidden)
            assert batch.states.dtype == torch.float32
        states = torch.cat([batch.states for batch in batches], dim=1)
        torch.testing.assert_close(states, torch.cat([alone[row] for row in order], dim=1), rtol=1e-5, atol=1e-5)


def test_the_boundary_of_what_fits(encoder: Encoder, windows: Windows) -> None:
    tokens = int(windows.starts[-1])
    assert Features(encoder, windows, gib=gib_for(encoder, tokens)).fits
    assert not Features(encoder, windows, gib=gib_for(encoder, tokens - 1)).fits


def test_the_encoder_runs_once_over_what_is_kept(
    encoder: Encoder, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = encoder.model.forward
    monkeypatch.setattr(
        encoder.model,
        "forward",
        lambda *args, **kwargs: seen.append(len(kwargs["input_ids"])) or forward(*args, **kwargs),
    )
    features = Features(encoder, windows, gib=1)
    for _ in range(3):
        list(features.batches(np.arange(len(windows)), 8))
    assert sum(seen) == len(windows)
    seen.clear()
    features = Features(encoder, windows, gib=gib_for(encoder, 500))
    for _ in range(3):
        list(features.batches(np.arange(len(windows)), 8))
    assert sum(seen) == 3 * len(windows)

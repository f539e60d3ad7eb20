"""Batches kept in memory and batches recomputed are the same batches."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, load_encoder
from stages.qa.encoding.features import BLOCK_BYTES, Features
from stages.qa.errors import ResourceError
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
        assert [len(batch.rows) for batch in batches] == [
            len(order[i : i + batch_size]) for i in range(0, len(order), batch_size)
        ]
        assert np.concatenate([batch.rows for batch in batches]).tolist() == order.tolist()
        assert torch.cat([batch.lengths for batch in batches]).tolist() == windows.lengths[order].tolist()
        assert torch.cat([batch.targets for batch in batches]).tolist() == windows.targets[order].tolist()
        parts = [part for batch in batches for part in batch.parts]
        for part, row in zip(parts, order, strict=True):
            torch.testing.assert_close(part, alone[row][:, None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [10**6, 200])
def test_blocks_hold_each_window_once_with_those_of_its_length(
    encoder: Encoder, windows: Windows, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BLOCK_BYTES, "cpu", 4 * encoder.hidden * 200)
    features = Features(encoder, windows, gib=gib_for(encoder, tokens))
    part = features.part(np.arange(3, 20), targets=windows.targets + 1)
    for given, rows, targets in (
        (features, range(len(windows)), windows.targets),
        (part, range(3, 20), windows.targets + 1),
    ):
        seen = []
        for block in given.blocks():
            (one,) = block.parts
            _, count, length, _ = one.shape
            assert count == len(block.rows)
            assert count == 1 or count * length <= 200
            assert (windows.lengths[block.rows] == length).all()
            assert block.targets.tolist() == targets[block.rows].tolist()
            for row, states in zip(block.rows, one.unbind(1), strict=True):
                alone = encode(encoder, windows, np.array([row])).states
                torch.testing.assert_close(states, alone, rtol=1e-5, atol=1e-5)
            seen += block.rows.tolist()
        assert sorted(seen) == list(rows)


def test_the_boundary_of_what_fits(encoder: Encoder, windows: Windows) -> None:
    tokens = int(windows.starts[-1])
    assert Features(encoder, windows, gib=gib_for(encoder, tokens)).fits
    assert not Features(encoder, windows, gib=gib_for(encoder, tokens - 1)).fits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_in_a_file_are_those_in_memory(
    encoder: Encoder, windows: Windows, dtype: torch.dtype, tmp_path: Path
) -> None:
    encoder = replace(encoder, model=copy.deepcopy(encoder.model).to(dtype))
    size = encoder.state_bytes * int(windows.starts[-1]) / 2**30
    in_file = Features(encoder, windows, gib=0.9 * size, folder=tmp_path, file_gib=size)
    assert in_file.fits
    for _ in range(2):  # the second time they are read, not computed
        for one, other in zip(Features(encoder, windows, gib=size).blocks(), in_file.blocks(), strict=True):
            assert torch.equal(one.parts[0], other.parts[0])
        in_file.encoder = replace(encoder, model=None)
    assert not list(tmp_path.iterdir())
    assert not Features(encoder, windows, gib=0.9 * size, folder=tmp_path, file_gib=0.95 * size).fits


def test_no_room_for_the_file(
    encoder: Encoder, windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = encoder.state_bytes * int(windows.starts[-1])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=size - 1))
    features = Features(encoder, windows, gib=0.9 * size / 2**30, folder=tmp_path, file_gib=1)
    with pytest.raises(ResourceError, match=r"GiB of hidden states, .* are free"):
        next(features.blocks())


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

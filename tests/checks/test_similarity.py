"""Linear CKA: its invariances, and its definition by kernels."""

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from stages.qa.checks.similarity import TokenSample, cka_matrix
from stages.qa.data.squad import Example
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, load_encoder
from stages.qa.errors import InputError
from tests.conftest import CPU, TinyModel


@pytest.fixture
def states() -> torch.Tensor:
    """(layers, tokens, hidden), with a mean and with features of unequal variance."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 200, 8, generator=generator) * torch.arange(1, 9) + 5


def test_equals_the_definition_by_centred_kernels(states: torch.Tensor) -> None:
    other = states @ torch.randn(8, 5, generator=torch.Generator().manual_seed(1)) + torch.randn(3, 200, 5)
    centring = np.eye(200) - 1 / 200
    found = cka_matrix(states, other)
    for i, x in enumerate(states.double().numpy()):
        for j, y in enumerate(other.double().numpy()):
            k, h = (centring @ z @ z.T @ centring for z in (x, y))
            assert found[i, j] == pytest.approx((k * h).sum() / np.sqrt((k * k).sum() * (h * h).sum()), rel=1e-4)


def test_is_one_for_itself_rotated_scaled_or_shifted(states: torch.Tensor) -> None:
    rotation = torch.from_numpy(ortho_group.rvs(8, random_state=0)).float()
    for same in (states, states @ rotation, 7.3 * states, states - 11):
        np.testing.assert_allclose(np.diag(cka_matrix(states, same)), 1, atol=1e-4)


def test_is_not_blind(states: torch.Tensor) -> None:
    assert cka_matrix(states[:1], torch.randn(1, 200, 8, generator=torch.Generator().manual_seed(2))) < 0.2
    assert cka_matrix(states[:1], states[:1] * torch.tensor([9.0] + [1.0] * 7)) < 0.9  # one feature scaled


def test_other_tokens_are_refused(states: torch.Tensor) -> None:
    with pytest.raises(InputError, match="one model has 200, the other 100"):
        cka_matrix(states, states[:, :100])


@pytest.mark.parametrize("tokens", [1, 37, 10**6])
def test_the_sample_is_the_same_however_the_chunks_fall(
    tiny_model: TinyModel, sample: list[Example], tokens: int
) -> None:
    encoder: Encoder = load_encoder(tiny_model("bert"), device=CPU)
    windows = make_windows(sample[:9], encoder.tokenizer, max_seq_length=96, doc_stride=48, max_query_length=32)
    whole, parts = TokenSample(windows, tokens), TokenSample(windows, tokens)
    chunk: Chunk = encode(encoder, windows, np.arange(len(windows)))
    whole(chunk)
    for rows in np.array_split(np.arange(len(windows)), 4):
        parts(encode(encoder, windows, rows))
    assert whole.states().shape[1] == min(tokens, windows.starts[-1])
    torch.testing.assert_close(whole.states(), parts.states(), rtol=1e-5, atol=1e-5)

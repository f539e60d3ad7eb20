"""An encoder whose weights lie in memory and on disk gives, bit by bit, what the whole one in memory gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, in_precision, load_encoder
from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import write_manifest
from tests.conftest import CPU, TinyModel
from tests.tiny_models import FAMILIES

CAN_BE = [family for family in FAMILIES if family != "deberta-v2"]
Spread = Callable[[Path, str], Encoder]


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Spread:
    """spread(folder, "cpu=9KiB") -> the encoder, loaded with that as DEVICE_MAP; some of its weights are not held."""

    def load(folder: Path, places: str) -> Encoder:
        monkeypatch.setenv("DEVICE_MAP", places)
        encoder = load_encoder(folder, device=CPU)
        monkeypatch.delenv("DEVICE_MAP")
        assert any(parameter.is_meta for parameter in encoder.model.parameters()) == (places != "auto")
        return encoder

    return load


def windows_of(encoder: Encoder, examples: list[Example]) -> Windows:
    return make_windows(examples, encoder.tokenizer, max_seq_length=96, doc_stride=48, max_query_length=32)


def assert_alike(one: Encoder, other: Encoder, examples: list[Example]) -> None:
    windows = windows_of(one, examples)
    first, second = (encode(encoder, windows, np.arange(len(windows))) for encoder in (one, other))
    assert first.states.dtype == second.states.dtype
    assert torch.equal(first.states, second.states)
    if first.head_logits is None:
        assert second.head_logits is None
    else:
        assert second.head_logits is not None
        assert torch.equal(first.head_logits, second.head_logits)


@pytest.mark.parametrize("family", CAN_BE)
@pytest.mark.parametrize("head", [False, True])
def test_the_same_states_and_logits(
    family: str, head: bool, tiny_model: TinyModel, spread: Spread, sample: list[Example]
) -> None:
    folder = tiny_model(family, head=head)
    whole = load_encoder(folder, device=CPU)
    size = sum(parameter.numel() * 4 for parameter in whole.model.parameters())
    for places in "cpu=1KiB", f"cpu={size * 9 // 10 // 1024}KiB", "auto":
        other = spread(folder, places)
        assert_alike(whole, other, sample[:4])
        half = [in_precision(encoder, windows_of(encoder, sample[:4]), "bf16") for encoder in (whole, other)]
        assert_alike(*half, sample[:4])
        assert_alike(whole, other, sample[:4])  # the copy left the weights as they are


def test_a_format_that_cannot_be_read_layer_by_layer(
    tiny_copy: TinyModel, spread: Spread, sample: list[Example]
) -> None:
    """Pickled weights, of half precision: what goes to disk is written there anew."""
    folder = tiny_copy("bert")
    model = AutoModel.from_pretrained(folder).half()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    write_manifest(folder, source="test")
    assert_alike(load_encoder(folder, device=CPU), spread(folder, "cpu=1KiB"), sample[:4])


def test_missing_weights_are_refused_all_the_same(tiny_copy: TinyModel, spread: Spread, sample: list[Example]) -> None:
    folder = tiny_copy("bert")
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}  # no fault, nor is it used
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder, source="test")
    assert_alike(load_encoder(folder, device=CPU), spread(folder, "cpu=1KiB"), sample[:4])
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder, source="test")
    with pytest.raises(IntegrityError, match=r"lacks 1 tensors .*encoder\.layer\.1\.output\.dense\.weight"):
        spread(folder, "cpu=1KiB")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ("some", "DEVICE_MAP=some: must be"),
        ("auto cpu=1GiB", "must be"),
        ("cpu=1", "must be"),
        ("0=1GiB cpu=1GiB", "no GPU 0"),
    ],
)
def test_refused_settings(places: str, said: str, tiny_model: TinyModel, spread: Spread) -> None:
    with pytest.raises(InputError, match=said):
        spread(tiny_model("bert"), places)


def test_refused_for_several_processes_and_for_deberta(
    tiny_model: TinyModel, spread: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="deberta-v2 cannot be spread"):
        spread(tiny_model("deberta-v2"), "auto")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="without LAUNCHER"):
        spread(tiny_model("bert"), "auto")

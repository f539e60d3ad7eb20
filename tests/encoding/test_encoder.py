"""Hidden states against the stock model on a padded batch, and checkpoints that must be refused."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoTokenizer, GPT2Config

from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding import encoder as module
from stages.qa.encoding.encoder import encode, in_precision, load_encoder, pieces
from stages.qa.errors import InputError, IntegrityError, NumericsError
from stages.qa.models.checkpoints import pick_device, randomise
from stages.qa.models.families import uses_token_types
from stages.qa.models.manifest import MANIFEST, write_manifest
from tests.conftest import CPU, TinyModel
from tests.tiny_models import FAMILIES, LAYERS

SIZES = {"max_seq_length": 96, "doc_stride": 40, "max_query_length": 32}
SEGMENTS = ["bert", "albert", "electra"]


@pytest.fixture(scope="module")
def examples(sample: list[Example]) -> list[Example]:
    return sample[:30:3]


def packed(padded: torch.Tensor, lengths: np.ndarray) -> torch.Tensor:
    return torch.cat([row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)])


def reference(folder: Path, windows: Windows, *, head: bool, segments: bool) -> Any:
    """The stock model on all windows at once, padded by hand; `segments` gives it the tokenizer's token types."""
    auto = AutoModelForQuestionAnswering if head else AutoModel
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    padding = AutoTokenizer.from_pretrained(folder).pad_token_id
    shape = len(windows), int(windows.lengths.max())
    inputs = {"input_ids": torch.full(shape, padding), "attention_mask": torch.zeros(shape, dtype=torch.long)}
    types = torch.zeros(shape, dtype=torch.long)
    for row in range(len(windows)):
        tokens = slice(windows.starts[row], windows.starts[row + 1])
        inputs["input_ids"][row, : windows.lengths[row]] = torch.from_numpy(windows.input_ids[tokens]).long()
        inputs["attention_mask"][row, : windows.lengths[row]] = 1
        types[row, : windows.lengths[row]] = torch.from_numpy(windows.token_type_ids[tokens]).long()
    if segments:
        inputs["token_type_ids"] = types
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True)


def pad_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of several lengths in a batch, as on a GPU."""
    plain = module._batches
    monkeypatch.setattr(module, "_batches", lambda lengths, budget, exact: plain(lengths, budget, exact=False))


@pytest.mark.parametrize("batching", ["one length", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_all_layers_equal_the_stock_models(
    family: str, batching: str, tiny_model: TinyModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(family, head=True)
    encoder = load_encoder(folder, device=CPU)
    assert encoder.head
    assert encoder.layers == LAYERS[family] + 1
    assert encoder.hidden == 32
    assert not encoder.model.training
    assert uses_token_types(encoder.model.config) == (family in SEGMENTS)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    if batching == "padded":
        pad_batches(monkeypatch)
    order = np.random.default_rng(0).permutation(len(windows))
    assert len(set(windows.lengths.tolist())) > 2
    chunk = encode(encoder, windows, order)
    expected = reference(folder, windows, head=True, segments=family in SEGMENTS)
    assert len(expected.hidden_states) == encoder.layers
    lengths = windows.lengths[order]
    assert chunk.rows.tolist() == order.tolist()
    assert chunk.starts.tolist() == [0, *np.cumsum(lengths).tolist()]
    assert chunk.states.dtype == torch.float32
    for layer, states in enumerate(expected.hidden_states):
        torch.testing.assert_close(chunk.states[layer], packed(states[order], lengths), rtol=1e-5, atol=2e-5)
    for side, logits in enumerate([expected.start_logits, expected.end_logits]):
        torch.testing.assert_close(chunk.head_logits[-1, :, side], packed(logits[order], lengths), rtol=1e-5, atol=2e-5)
    spread = chunk.states.flatten(1).std(1)
    assert (spread > 1e-3).all()  # the comparison is of numbers that differ


@pytest.mark.parametrize("family", FAMILIES)
def test_own_head_is_a_function_of_the_last_layer(family: str, tiny_model: TinyModel, examples: list[Example]) -> None:
    encoder = load_encoder(tiny_model(family, head=True), device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    chunk = encode(encoder, windows, np.arange(len(windows)))
    output = getattr(encoder.model, "classifier" if family == "modernbert" else "qa_outputs")
    head = encoder.model.head if family == "modernbert" else torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(output(head(chunk.states[-1])), chunk.head_logits[-1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_without_a_head(family: str, tiny_model: TinyModel, examples: list[Example]) -> None:
    folder = tiny_model(family)
    encoder = load_encoder(folder, device=CPU)
    assert encoder.head is None
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    chunk = encode(encoder, windows, np.arange(len(windows)))
    assert not len(chunk.head_logits)
    expected = reference(folder, windows, head=False, segments=family in SEGMENTS)
    for layer, states in enumerate(expected.hidden_states):
        torch.testing.assert_close(chunk.states[layer], packed(states, windows.lengths), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(
        chunk.states[-1], packed(expected.last_hidden_state, windows.lengths), rtol=1e-5, atol=2e-5
    )


@pytest.mark.parametrize("family", SEGMENTS)
def test_token_types_reach_the_model(family: str, tiny_model: TinyModel, examples: list[Example]) -> None:
    encoder = load_encoder(tiny_model(family), device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    assert windows.token_type_ids.max() == 1
    bare = replace(windows, token_type_ids=np.zeros_like(windows.token_type_ids))
    order = np.arange(len(windows))
    difference = encode(encoder, windows, order).states - encode(encoder, bare, order).states
    assert difference.abs().amax(dim=(1, 2)).min() > 1e-4


def test_chunks_hold_each_window_once(tiny_model: TinyModel, examples: list[Example]) -> None:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    order = np.random.default_rng(1).permutation(len(windows))
    whole = encode(encoder, windows, order)
    gib = 4 * encoder.layers * encoder.hidden * 250 / 2**30
    parts = [encode(encoder, windows, rows) for rows in pieces(encoder, windows, order, gib=gib)]
    assert len(parts) > 3
    assert np.concatenate([part.rows for part in parts]).tolist() == order.tolist()
    assert all(part.states.shape[1] <= 250 for part in parts)
    torch.testing.assert_close(torch.cat([part.states for part in parts], dim=1), whole.states)
    multiples = [len(rows) for rows in pieces(encoder, windows, order, gib=gib, multiple=4)]
    assert sum(multiples) == len(order)
    assert all(size % 4 == 0 for size in multiples[:-1])
    assert [len(rows) for rows in pieces(encoder, windows, order, gib=1e-9)] == [1] * len(order)


def test_half_precision_is_taken_where_it_is_fast_and_right(
    tiny_model: TinyModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(tiny_model("bert", head=True), device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    exact = encode(encoder, windows, np.arange(len(windows)))
    monkeypatch.setattr(module, "bf16_is_fast", lambda device: False)
    assert in_precision(encoder, windows, "auto") is encoder
    monkeypatch.setattr(module, "bf16_is_fast", lambda device: True)
    assert in_precision(encoder, windows, "fp32") is encoder
    half = in_precision(encoder, windows, "auto")
    chunk = encode(half, windows, np.arange(len(windows)))
    assert chunk.states.dtype == torch.bfloat16
    assert encoder.model.dtype == torch.float32
    error = (chunk.states.float() - exact.states).square().mean((1, 2)).sqrt() / exact.states.square().mean(
        (1, 2)
    ).sqrt()
    assert 1e-4 < error.max() < 0.02
    assert chunk.head_logits[-1].unique().numel() > 0.9 * chunk.head_logits[-1].numel()  # in bfloat16 many would tie
    torch.testing.assert_close(chunk.head_logits, exact.head_logits, rtol=0.05, atol=0.05)
    monkeypatch.setattr(module, "TOLERANCE", 1e-4)
    assert in_precision(encoder, windows, "auto") is encoder
    assert in_precision(encoder, windows, "bf16").model.dtype == torch.bfloat16


def test_a_batch_holds_a_bounded_number_of_bytes(
    tiny_model: TinyModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    shapes = []
    encoder.model.register_forward_pre_hook(
        lambda model, inputs, named: shapes.append(named["input_ids"].shape), with_kwargs=True
    )
    pad_batches(monkeypatch)
    monkeypatch.setitem(module.BATCH_BYTES, "cpu", 300 * encoder.layers * encoder.hidden * 4)
    encode(encoder, windows, np.arange(len(windows)))
    assert max(shape.numel() for shape in shapes if shape[0] > 1) <= 300 < windows.lengths.sum()


def test_windows_longer_than_the_model_can_take(tiny_model: TinyModel) -> None:
    long = Example("q1", "Who?", "Ann sang here. " * 300, (), True, 0, 0, "")
    for family in "bert", "roberta", "distilbert", "mpnet", "xlm-roberta", "albert", "electra":
        encoder = load_encoder(tiny_model(family), device=CPU)
        fits = make_windows([long], encoder.tokenizer, max_seq_length=512, doc_stride=128, max_query_length=64)
        assert fits.lengths.max() == 512
        encode(encoder, fits, np.arange(1))
        windows = make_windows([long], encoder.tokenizer, max_seq_length=513, doc_stride=128, max_query_length=64)
        with pytest.raises(InputError, match=r"windows.max_seq_length.*513.*512"):
            encode(encoder, windows, np.arange(1))


# Refusals


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(folder: Path, *causes: str) -> str:
    """The message of load_encoder's refusal, once the manifest agrees with the files."""
    write_manifest(folder, source="test")
    with pytest.raises(IntegrityError) as caught:
        load_encoder(folder, device=CPU)
    message = str(caught.value)
    assert str(folder) in message
    for cause in causes:
        assert cause in message
    return message


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_tokenizer_is_refused(family: str, tiny_copy: TinyModel) -> None:
    folder = tiny_copy(family)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    refused(folder, "tokenizer")


def test_foreign_tokenizer_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    edit_config(folder, vocab_size=30522)
    refused(folder)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [False, True])
def test_missing_tensor_is_refused(family: str, head: bool, tiny_copy: TinyModel) -> None:
    folder = tiny_copy(family, head=head)
    names = [name for name in load_file(folder / "model.safetensors") if "pooler" not in name]
    lost = next(name for name in names if "layer" in name and name.endswith("weight") and "norm" not in name.lower())
    edit_weights(folder, lambda tensors: tensors.pop(lost))
    refused(folder, "lacks 1 tensors", lost)


def test_missing_head_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert", head=True)
    edit_weights(folder, lambda tensors: tensors.pop("qa_outputs.bias"))
    refused(folder, "lacks 1 tensors", "qa_outputs.bias")


def test_missing_pooler_is_no_fault(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    edit_weights(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    write_manifest(folder, source="test")
    assert load_encoder(folder, device=CPU).layers == 3


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])  # whose layers are one
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("change", [-1, 1])
def test_other_number_of_layers_is_refused(family: str, head: bool, change: int, tiny_copy: TinyModel) -> None:
    folder = tiny_copy(family, head=head)
    key = "n_layers" if family == "distilbert" else "num_hidden_layers"
    edit_config(folder, **{key: LAYERS[family] + change}, layer_types=None)
    refused(folder, "config.json", "unused" if change < 0 else "lacks")


@pytest.mark.parametrize("head", [False, True])
def test_foreign_architecture_is_refused(head: bool, tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert", head=head)
    foreign = GPT2Config(vocab_size=600, n_embd=32, n_layer=2, n_head=4).to_dict()
    foreign["architectures"] = ["GPT2ForQuestionAnswering" if head else "GPT2Model"]
    (folder / "config.json").write_text(json.dumps(foreign))
    refused(folder)


def test_other_sizes_are_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    edit_config(folder, intermediate_size=128)
    refused(folder)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "null",
        "{",
        "{}",
        '{"model_type": "no-such-model"}',
        '{"model_type": ["bert"]}',
        '{"model_type": "bert", "num_hidden_layers": "two"}',
        '{"model_type": "bert", "num_hidden_layers": null}',
        '{"model_type": "bert", "num_hidden_layers": -1}',
        '{"model_type": "bert", "num_attention_heads": 5, "hidden_size": 32, "vocab_size": 600}',
        '{"model_type": "bert", "num_attention_heads": 0, "hidden_size": 32, "vocab_size": 600}',
        '{"model_type": "bert", "hidden_act": "no-such", "hidden_size": 32, "vocab_size": 600}',
        "[" * 100_000,
    ],
)
def test_odd_configurations_are_refused(config: str, tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    (folder / "config.json").write_text(config)
    assert "\n" not in refused(folder)[:-1]


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 200_000}, {"vocab_size": 10**9}, {"num_hidden_layers": 0}])
def test_sizes_out_of_bounds_are_refused(changes: dict[str, int], tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    edit_config(folder, **changes)
    refused(folder, "config.json", "out of bounds")


def test_huge_tokenizer_is_refused_unread(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    with (folder / "tokenizer.json").open("w") as file:
        json.dump({"model": {"type": "WordPiece", "vocab": {f"token{i}": i for i in range(150_000)}}}, file)
    refused(folder, "tokenizer.json", "not this model's")


def test_damaged_tokenizer_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text[: len(text) // 2], encoding="utf-8")
    refused(folder, "tokenizer")


@pytest.mark.parametrize("kept", [0, 4, 1000, -100])
def test_truncated_weights_are_refused(kept: int, tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:kept])
    refused(folder)


def test_huge_header_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    refused(folder)


def test_no_weights_are_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    (folder / "model.safetensors").unlink()
    refused(folder)


def test_changed_bytes_are_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    sha256 = "sha256 [0-9a-f]{64}"
    with pytest.raises(IntegrityError, match=rf"model\.safetensors: expected {sha256}, got {sha256}; remove "):
        load_encoder(folder, device=CPU)


def test_folder_without_manifest_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    (folder / MANIFEST).unlink()
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        load_encoder(folder, device=CPU)


class Payload:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.sentinel),)


@pytest.mark.parametrize("form", ["bare", "zip"])
def test_code_in_a_pickle_is_not_run(form: str, tiny_copy: TinyModel, tmp_path: Path) -> None:
    folder, sentinel = tiny_copy("bert"), tmp_path / "sentinel"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if form == "bare":
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(sentinel)))
    else:
        torch.save(tensors | {"payload": Payload(sentinel)}, folder / "pytorch_model.bin")
    refused(folder)
    assert not sentinel.exists()


def test_plain_pickled_weights_are_loaded(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    before = load_encoder(folder, device=CPU).model.state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    write_manifest(folder, source="test")
    after = load_encoder(folder, device=CPU).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


REMOTE = """
import os
os.mkdir({sentinel!r})
from transformers import BertConfig, BertModel, BertTokenizer
class RemoteConfig(BertConfig):
    model_type = {model_type!r}
class RemoteModel(BertModel):
    config_class = RemoteConfig
class RemoteTokenizer(BertTokenizer):
    pass
"""


@pytest.mark.parametrize("model_type", ["bert", "remote-bert"])
def test_remote_code_is_not_run(
    model_type: str, tiny_copy: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sentinel = tiny_copy("bert"), tmp_path / "sentinel"
    (folder / "remote.py").write_text(REMOTE.format(sentinel=str(sentinel), model_type=model_type))
    auto_map = {"AutoConfig": "remote.RemoteConfig", "AutoModel": "remote.RemoteModel"}
    edit_config(folder, model_type=model_type, auto_map=auto_map)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["remote.RemoteTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    write_manifest(folder, source="test")
    prompts: list[str] = []
    monkeypatch.setattr("builtins.input", lambda *args: prompts.append(str(args)) or "y")
    if model_type == "bert":
        assert load_encoder(folder, device=CPU).layers == 3  # by the code of transformers
    else:
        refused(folder, "config.json")
    assert not prompts
    assert not sentinel.exists()


@pytest.mark.parametrize("cause", ["weights", "config", "both"])
def test_half_precision_is_loaded_as_float32(cause: str, tiny_copy: TinyModel, examples: list[Example]) -> None:
    folder = tiny_copy("bert")
    if cause != "config":
        edit_weights(folder, lambda tensors: tensors.update({name: t.half() for name, t in tensors.items()}))
    if cause != "weights":
        edit_config(folder, dtype="float16", torch_dtype="float16")
    write_manifest(folder, source="test")
    encoder = load_encoder(folder, device=CPU)
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    assert encode(encoder, windows, np.arange(2)).states.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_states_that_are_no_numbers(value: float, layer: int, tiny_copy: TinyModel, examples: list[Example]) -> None:
    folder = tiny_copy("bert")
    names = [
        "embeddings.LayerNorm.bias",
        "encoder.layer.0.output.LayerNorm.bias",
        "encoder.layer.1.output.LayerNorm.bias",
    ]
    edit_weights(folder, lambda tensors: tensors[names[layer]].fill_(value))
    write_manifest(folder, source="test")
    encoder = load_encoder(folder, device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    with pytest.raises(NumericsError, match=f"tiny-bert.*layer {layer} "):
        encode(encoder, windows, np.arange(len(windows)))


def test_head_logits_that_are_no_numbers(tiny_copy: TinyModel, examples: list[Example]) -> None:
    folder = tiny_copy("bert", head=True)
    edit_weights(folder, lambda tensors: tensors["qa_outputs.bias"][1:].fill_(float("nan")))
    write_manifest(folder, source="test")
    encoder = load_encoder(folder, device=CPU)
    windows = make_windows(examples, encoder.tokenizer, **SIZES)
    with pytest.raises(NumericsError, match=r"tiny-bert.*head"):
        encode(encoder, windows, np.arange(len(windows)))


# Devices and random weights


def test_device_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in False, True:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setenv("QA_DEVICE", "cpu")
        assert pick_device().type == "cpu"
        for choice in "auto", None:
            monkeypatch.setenv("QA_DEVICE", choice) if choice else monkeypatch.delenv("QA_DEVICE")
            assert pick_device().type == ("cuda" if there else "cpu")
    monkeypatch.setenv("QA_DEVICE", "gpu")
    assert pick_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="QA_DEVICE=gpu"):
        pick_device()
    monkeypatch.setenv("QA_DEVICE", "tpu")
    with pytest.raises(InputError, match="QA_DEVICE=tpu"):
        pick_device()


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert"])
def test_random_weights(family: str, tiny_copy: TinyModel, tmp_path: Path) -> None:
    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    folders = [tiny_copy(family, head=True).rename(tmp_path / f"{name}") for name in ("first", "second", "other")]
    edit_config(folders[0], dtype="float16")
    edit_config(folders[1], dtype="float16")
    before = load_file(folders[0] / "model.safetensors")
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        write_manifest(folder, source="test")
        torch.rand(seed)  # the state of the global generator does not matter
        randomise(folder, seed=seed)
    first, second, other = map(bytes_of, folders)
    assert first == second
    assert first["model.safetensors"] != other["model.safetensors"]
    assert str(tmp_path).encode() not in b"".join(first.values())
    encoder = load_encoder(folders[0], device=CPU)
    assert encoder.head is None
    assert encoder.layers == LAYERS[family] + 1
    after = load_file(folders[0] / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    drawn = [name for name, tensor in encoder.model.named_parameters() if tensor.dim() > 1]
    prefix = {"bert": "bert.", "albert": "albert.", "modernbert": "model."}[family]
    assert not any(torch.equal(after[name], before[prefix + name]) for name in drawn if prefix + name in before)

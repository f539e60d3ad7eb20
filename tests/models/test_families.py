"""Families of encoders: those that work give the stock model's states, the others are refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoConfig, AutoModel, AutoModelForQuestionAnswering, AutoTokenizer

from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import encode, in_precision, load_encoder
from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.checkpoints import load_config, load_model
from stages.qa.models.manifest import write_manifest
from tests.conftest import CPU, TinyModel
from tests.tiny_models import train_tokenizer

USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
OTHERS = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
CONTEXTS = ["Ann sang here. " * 40, "Ann sang here. " * 3, "Ann."]
EXAMPLES = [Example(str(n), "Who sang?", text, (Answer("Ann", 0),), False, 0, 0, "") for n, text in enumerate(CONTEXTS)]


def write_model(kind: str, folder: Path, **changes: Any) -> Path:
    """A tiny random model of a type, with a span head and the tokenizer of BERT's kind."""
    tokenizer = train_tokenizer("wordpiece")
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | (changes or USUAL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForQuestionAnswering.from_config(AutoConfig.for_model(kind, **sizes))
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embedding" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, source=kind)
    return folder


def windows_for(folder: Path, length: int = 150) -> Windows:
    tokenizer = load_encoder(folder, device=CPU).tokenizer
    return make_windows(EXAMPLES, tokenizer, max_seq_length=length, doc_stride=32, max_query_length=16)


def run(folder: Path) -> None:
    in_precision(load_encoder(folder, device=CPU), windows_for(folder), "fp32")


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("longformer", USUAL | {"attention_window": [16, 16]}, "question answering class attends globally"),
        ("bart", OTHERS, "it has an encoder and a decoder"),
        ("t5", OTHERS, "it has an encoder and a decoder"),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "its first token does not see those after it"),
        ("qwen2", USUAL | {"num_key_value_heads": 2}, "its first token does not see those after it"),
        (
            "funnel",
            OTHERS | {"block_sizes": [1, 1], "d_head": 8, "num_decoder_layers": 1},
            "layers of shape .*, not 3 of shape",
        ),
        ("fnet", USUAL, "depend on the windows beside"),
        ("yoso", USUAL, "depend on the windows beside"),
        ("convbert", USUAL | {"embedding_size": 32, "head_ratio": 2}, "depend on the windows beside"),
        ("nystromformer", USUAL | {"segment_means_seq_len": 384, "num_landmarks": 16}, "does not take a window of"),
        ("splinter", USUAL, "gives no start and end logits"),
        ("roformer", USUAL | {"max_position_embeddings": 100}, "a window has 150 tokens, model "),
        ("ibert", USUAL | {"max_position_embeddings": 100}, "does not take a window of 150 tokens"),
    ],
)
def test_families_that_are_refused(kind: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = write_model(kind, tmp_path / "model", **changes)
    with pytest.raises((InputError, IntegrityError), match=says) as caught:
        run(folder)
    assert "\n" not in str(caught.value)
    assert kind in str(caught.value) or "takes 100" in str(caught.value)


@pytest.mark.parametrize("kind", ["ernie", "megatron-bert", "rembert", "roformer", "squeezebert", "big_bird"])
def test_more_families_that_work(kind: str, tmp_path: Path) -> None:
    changes = {"squeezebert": {"embedding_size": 32}, "big_bird": {"block_size": 8, "num_random_blocks": 1}}
    folder = write_model(kind, tmp_path / "model", **USUAL, **changes.get(kind, {}))
    windows = windows_for(folder)
    encoder = in_precision(load_encoder(folder, device=CPU), windows, "fp32")
    check_against_stock(folder, encode(encoder, windows, np.arange(len(windows))), windows)


def check_against_stock(folder: Path, chunk: Any, windows: Windows, **options: Any) -> None:
    """Each window alone through the stock model with full attention."""
    if AutoConfig.from_pretrained(folder).model_type == "big_bird":
        options["attention_type"] = "original_full"
    model = AutoModel.from_pretrained(folder, **options).eval()
    for row in range(len(windows)):
        tokens = slice(int(windows.starts[row]), int(windows.starts[row + 1]))
        given = {"input_ids": windows.input_ids, "token_type_ids": windows.token_type_ids}
        inputs = {name: torch.from_numpy(values[tokens]).long()[None] for name, values in given.items()}
        with torch.no_grad():
            expected = model(**inputs, output_hidden_states=True).hidden_states
        for layer, states in enumerate(expected):
            torch.testing.assert_close(chunk.states[layer][tokens], states[0], rtol=1e-4, atol=1e-4)


def test_the_states_of_bigbird_do_not_depend_on_order(tmp_path: Path) -> None:
    folder = write_model("big_bird", tmp_path / "model", **USUAL, block_size=8, num_random_blocks=1)
    windows = windows_for(folder)
    order = np.arange(len(windows))
    forward = encode(load_encoder(folder, device=CPU), windows, order)
    encoder = load_encoder(folder, device=CPU)
    backward = [encode(encoder, windows, order[row : row + 1]) for row in order[::-1]]
    torch.testing.assert_close(torch.cat([c.states for c in backward[::-1]], dim=1), forward.states)


def test_xlnet_reads_no_answer_at_its_last_token(tmp_path: Path) -> None:
    """<cls> is last, with a segment of its own; states are the stock model's."""
    folder = write_model("xlnet", tmp_path / "model", **OTHERS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:2", pair="$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2", special_tokens=special
    )
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_manifest(folder, source="xlnet")
    windows = windows_for(folder)
    assert windows.null.tolist() == (windows.lengths - 1).tolist()
    assert windows.token_type_ids[windows.starts[1:] - 1].tolist() == [2] * len(windows)
    assert (windows.targets[0] == windows.null[0]).all() or windows.targets[0, 0] == windows.context[0, 0]
    assert (windows.targets[2] == windows.null[2]).all()  # a window without the answer
    encoder = in_precision(load_encoder(folder, device=CPU), windows, "fp32")
    check_against_stock(folder, encode(encoder, windows, np.arange(len(windows))), windows)


def test_a_template_without_cls_is_refused(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"cls_token": None}))
    write_manifest(folder, source="test")
    with pytest.raises(InputError, match=r"tiny-bert: its tokenizer puts no cls_token \(None\)"):
        windows_for(folder)


# Heads


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_manifest(folder, source="test")


@pytest.mark.parametrize("architectures", [None, [], ["BertModel"]])
def test_the_weights_say_that_there_is_a_head(architectures: list[str] | None, tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert", head=True)
    edit_config(folder, architectures=architectures)
    assert load_encoder(folder, device=CPU).head is not None
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    write_manifest(folder, source="test")
    assert load_encoder(folder, device=CPU).head is not None


def test_a_fresh_head_has_two_labels(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    edit_config(folder, id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2})
    config = load_config(folder)
    assert config.num_labels == 3
    model = load_model(folder, config, head=True, fresh_head=True)
    assert model.qa_outputs.out_features == model.config.num_labels == 2


@pytest.mark.parametrize("fresh_head", [False, True])
def test_a_head_of_three_labels_is_refused_with_both_shapes(fresh_head: bool, tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert", head=True)
    tensors = load_file(folder / "model.safetensors")
    tensors |= {"qa_outputs.weight": torch.zeros(3, 32), "qa_outputs.bias": torch.zeros(3)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match=r"has misshapen 2 tensors .* qa_outputs.bias \(3,\) for \(2,\)"):
        load_model(folder, load_config(folder), head=True, fresh_head=fresh_head)

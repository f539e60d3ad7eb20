"""Load a checkpoint safely, and run windows through it: the hidden states of all layers, token by token."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from stages.qa.errors import InputError, IntegrityError, NumericsError
from stages.qa.snapshots import verify_snapshot, write_manifest
from stages.qa.windows import Windows

BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}  # of one forward pass
MAX_LAYERS = 1000  # a configuration beyond these bounds is a mistake or an attack, refused before anything is built
MAX_VOCABULARY = 2_000_000


@dataclass(frozen=True)
class Encoder:
    """A checkpoint in evaluation mode. `model` is a question answering model if the checkpoint has that head."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    has_head: bool
    layers: int  # hidden states of a token: embedding output and the output of each layer
    hidden: int
    name: str  # of its folder, for messages


@dataclass(frozen=True)
class Chunk:
    """Hidden states of some windows, packed in the order of `rows`."""

    rows: np.ndarray  # (windows,) int64: indices into Windows
    starts: np.ndarray  # (windows + 1,) int64: window i holds the tokens starts[i] to starts[i + 1]
    states: Tensor  # (layers, tokens, hidden) float32; layer 0 = embedding output
    head_logits: Tensor | None  # (tokens, 2) float32: start and end logits of the checkpoint's own head


def pick_device() -> torch.device:
    """The GPU if there is one, unless the environment variable QA_DEVICE says cpu or gpu."""
    choice = os.environ.get("QA_DEVICE", "auto")
    if choice not in ("auto", "cpu", "gpu"):
        raise InputError(f"QA_DEVICE={choice}: must be auto, cpu or gpu")
    if choice == "gpu" and not torch.cuda.is_available():
        raise InputError("QA_DEVICE=gpu: torch sees no GPU here")
    return torch.device("cuda" if choice != "cpu" and torch.cuda.is_available() else "cpu")


def load_config(folder: Path) -> PretrainedConfig:
    """The checkpoint's configuration, within sane bounds; IntegrityError otherwise."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of nearly any type, for a file that is damaged or another program's
        raise IntegrityError(f"{folder}/config.json: no encoder that transformers knows ({_line(error)})") from error
    layers, vocabulary = getattr(config, "num_hidden_layers", 0), getattr(config, "vocab_size", 0)
    if not (0 < layers <= MAX_LAYERS and 0 < vocabulary <= MAX_VOCABULARY):
        raise IntegrityError(f"{folder}/config.json: num_hidden_layers {layers}, vocab_size {vocabulary} out of bounds")
    return config


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The fast tokenizer; IntegrityError if its files are missing (transformers would return an empty one) or foreign."""
    file = folder / "tokenizer.json"
    if file.exists() and file.stat().st_size > 200 * config.vocab_size + 2**20:
        raise IntegrityError(
            f"{file}: {file.stat().st_size} bytes for vocab_size {config.vocab_size}: not this model's"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        raise IntegrityError(f"{folder}: tokenizer cannot be loaded ({_line(error)})") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast) and not tokenizer.is_fast:
        raise IntegrityError(f"{folder}: no fast tokenizer, so answers have no character offsets")
    if not 0.9 * config.vocab_size <= len(tokenizer) <= config.vocab_size:
        raise IntegrityError(
            f"{folder}: tokenizer has {len(tokenizer)} tokens, config.json says vocab_size {config.vocab_size}; "
            "are the tokenizer's files missing or another model's?"
        )
    return tokenizer


def load_model(folder: Path, config: PretrainedConfig, *, head: bool, fresh_head: bool = False) -> PreTrainedModel:
    """The checkpoint in float32, with its question answering head if `head`.

    Never with random encoder weights: IntegrityError lists what is missing, or layers left over. `fresh_head` allows a
    newly drawn head (from torch's global generator), for fine-tuning.
    """
    auto = AutoModelForQuestionAnswering if head else AutoModel
    try:
        model, report = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # safetensors, pickle, torch and transformers each have their own
        raise IntegrityError(f"{folder}: weights cannot be loaded ({_line(error)})") from error
    body = f"{model.base_model_prefix}." if head else ""
    missing = [
        key
        for key in sorted(report["missing_keys"])
        if "pooler" not in key and (key.startswith(body) or not fresh_head)
    ]
    surplus = [key for key in sorted(report["unexpected_keys"]) if re.search(r"\b(layers?|h|block)\.\d+\.", key)]
    for what, keys in ("lacks", missing), ("has unused", surplus), ("has misshapen", sorted(report["mismatched_keys"])):
        if keys:
            raise IntegrityError(
                f"{folder}: the checkpoint {what} {len(keys)} tensors of {type(model).__name__}, first {keys[0]}; "
                "is config.json another model's?"
            )
    return model


def _line(error: Exception) -> str:
    """The start of an error's message on one line: transformers adds paragraphs of advice."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def randomise(folder: Path, *, seed: int) -> None:
    """Replace the weights in `folder` by newly drawn ones of the same configuration: the floor of every curve."""
    manifest = verify_snapshot(folder)
    config = load_config(folder)
    torch.manual_seed(seed)
    model = AutoModel.from_config(config, dtype=torch.float32)
    for name in manifest["files"]:
        if name.endswith((".bin", ".safetensors", ".index.json")):
            (folder / name).unlink()
    model.save_pretrained(folder)
    write_manifest(folder, source=f"random weights, seed {seed}")


def load_encoder(folder: Path, *, device: torch.device) -> Encoder:
    """Verify the checkpoint in `folder` against its manifest and load it, with its own head if it has one."""
    verify_snapshot(folder)
    config = load_config(folder)
    has_head = any(name.endswith("ForQuestionAnswering") for name in config.architectures or [])
    model = load_model(folder, config, head=has_head).to(device).eval()
    return Encoder(
        model=model,
        tokenizer=load_tokenizer(folder, config),
        has_head=has_head,
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=folder.name,
    )


def uses_token_types(config: PretrainedConfig) -> bool:
    """Whether the model tells question from context by segment ids (BERT, ALBERT: yes; RoBERTa, DistilBERT: no)."""
    return getattr(config, "type_vocab_size", 0) > 1


def check_length(model: PreTrainedModel, tokens: int, name: str) -> None:
    """InputError if a window of `tokens` is longer than the model has position embeddings for."""
    for place, table in model.named_modules():
        if place.endswith("position_embeddings") and isinstance(table, torch.nn.Embedding):
            # RoBERTa and its kin number positions from the one after padding's.
            limit = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
            if tokens > limit:
                raise InputError(f"windows.max_seq_length: a window has {tokens} tokens, model {name} takes {limit}")


@torch.inference_mode()
def encode(encoder: Encoder, windows: Windows, rows: np.ndarray) -> Chunk:
    """Run `rows` of `windows` through the encoder, in batches of one length where that wastes no time (CPU).

    Raises InputError if a window is longer than the model can take, NumericsError if a hidden state or a logit of the
    checkpoint's head is not a finite number.
    """
    lengths = windows.lengths[rows]
    check_length(encoder.model, int(lengths.max(initial=0)), encoder.name)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    device = encoder.model.device
    states = torch.empty(encoder.layers, int(starts[-1]), encoder.hidden, device=device)
    head_logits = torch.empty(int(starts[-1]), 2, device=device) if encoder.has_head else None
    for batch in _batches(lengths, device.type):
        width = int(lengths[batch[-1]])
        real = torch.arange(width) < torch.from_numpy(lengths[batch])[:, None]  # (batch, tokens)
        source = token_index(windows.starts, rows[batch])
        target = torch.from_numpy(token_index(starts, batch)).to(device)
        padding = encoder.tokenizer.pad_token_id or 0
        inputs = {"input_ids": torch.full(real.shape, padding, dtype=torch.long)}
        inputs["input_ids"][real] = torch.from_numpy(windows.input_ids[source]).long()
        if uses_token_types(encoder.model.config):
            inputs["token_type_ids"] = torch.zeros(real.shape, dtype=torch.long)
            inputs["token_type_ids"][real] = torch.from_numpy(windows.token_type_ids[source]).long()
        if not real.all():
            inputs["attention_mask"] = real.long()
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        output = encoder.model(**inputs, output_hidden_states=True)
        real = real.to(device)
        for layer, hidden_states in enumerate(output.hidden_states):  # (batch, tokens, hidden)
            states[layer, target] = hidden_states[real].float()
        if head_logits is not None:
            head_logits[target] = torch.stack([output.start_logits[real], output.end_logits[real]], dim=-1).float()
    if not torch.isfinite(states.sum()):
        layer = int(torch.isfinite(states.sum(dim=(1, 2))).logical_not().nonzero()[0])
        raise NumericsError(f"model {encoder.name}: hidden states of layer {layer} are not finite")
    if head_logits is not None and not torch.isfinite(head_logits.sum()):
        raise NumericsError(f"model {encoder.name}: logits of its own head are not finite")
    return Chunk(rows=rows, starts=starts, states=states, head_logits=head_logits)


def token_index(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of the tokens of the windows `rows` in a packed array whose window w begins at starts[w], (tokens,) int64."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])


def _batches(lengths: np.ndarray, device: str) -> Iterator[np.ndarray]:
    """Indices into `lengths`, sorted by length, in batches of a bounded number of tokens.

    On a CPU a batch holds one length only: padding costs time there, small batches do not. Exact-length batches need
    no attention mask, and make a window's states independent of its neighbours.
    """
    budget = BATCH_TOKENS[device]
    order = np.argsort(lengths, kind="stable")
    first = 0
    for last in range(1, len(order) + 1):
        full = last == len(order) or (last - first + 1) * lengths[order[last]] > budget
        if full or (device == "cpu" and lengths[order[last]] != lengths[order[first]]):
            yield order[first:last]
            first = last


def chunks(encoder: Encoder, windows: Windows, order: np.ndarray, *, gib: float, multiple: int = 1) -> Iterator[Chunk]:
    """The windows of `order` in chunks of a multiple of `multiple` windows whose hidden states take about `gib` GiB."""
    tokens = max(1, int(gib * 2**30 / (4 * encoder.layers * encoder.hidden)))
    ends = np.cumsum(windows.lengths[order])
    first = 0
    while first < len(order):
        done = ends[first - 1] if first else 0
        count = int(np.searchsorted(ends, done + tokens, side="right")) - first
        last = first + max(count // multiple, 1) * multiple
        yield encode(encoder, windows, order[first:last])
        first = last

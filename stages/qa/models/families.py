"""What a model takes and what it gives back, checked before work starts."""

import re
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from stages.qa.data.windows import Windows
from stages.qa.errors import InputError, one_line

TOLERANCE = 0.01  # root mean square of a difference between states, relative to that of the states


def hidden_states(model: PreTrainedModel, output: object, input_ids: Tensor, name: str) -> tuple[Tensor, ...]:
    """Those of an output, layer by layer; InputError unless each is (batch, tokens, hidden) as the input and config."""
    states: tuple[Tensor, ...] = getattr(output, "hidden_states", None) or ()
    layers, expected = model.config.num_hidden_layers + 1, (*input_ids.shape, model.config.hidden_size)
    shapes = {tuple(layer.shape) for layer in states}
    if len(states) != layers or shapes != {expected}:
        what = f"{len(states)} layers of shape {', '.join(map(str, shapes))}, not {layers} of shape {expected}"
        raise InputError(f"{_named(model, name)} gives {what}")
    return states


def check_length(model: PreTrainedModel, tokens: int, name: str) -> None:
    """InputError if a window of `tokens` is longer than the model's table of positions."""
    for place, table in model.named_modules():
        if re.search(r"(position_embeddings|embed_positions|wpe)$", place) and isinstance(table, torch.nn.Embedding):
            # RoBERTa and its relatives number positions from the one after padding's.
            limit = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
            if tokens > limit:
                raise InputError(f"windows.max_seq_length: a window has {tokens} tokens, model {name} takes {limit}")


@torch.inference_mode()
def check_model(model: PreTrainedModel, windows: Windows, name: str) -> None:
    """Run the longest and the shortest window, alone and padded, before work starts.

    InputError if the model does not take the longest, gives states of another shape, gives a window other states beside
    or after another, or if its first token does not see the second.
    """
    order = windows.lengths.argsort(kind="stable")
    shortest, longest = order[:1], order[-1:]
    check_length(model, int(windows.lengths[longest[0]]), name)
    first = _last_states(model, windows, longest, name)
    short = _last_states(model, windows, shortest, name)
    both = _last_states(model, windows, np.concatenate([shortest, longest]), name)
    changed = replace(windows, input_ids=windows.input_ids.copy())
    changed.input_ids[windows.starts[longest[0]] + 1] = windows.input_ids[windows.starts[longest[0]]]
    without = _last_states(model, changed, longest, name)[0, 0]
    # States that are not finite pass: `encode` names their layer.
    if first.isfinite().all() and torch.allclose(without, first[0, 0], rtol=1e-5, atol=1e-5):
        raise InputError(f"{_named(model, name)} is refused: its first token does not see those after it")
    for alone, beside in (short[0], both[0, : short.shape[1]]), (first[0], both[1]):
        off = float((alone - beside).square().mean().sqrt() / alone.square().mean().sqrt())
        if off > TOLERANCE:
            what = "a window's states depend on the windows beside or before it"
            raise InputError(f"{_named(model, name)} is refused: {what} (by {off:.2g})")


def _last_states(model: PreTrainedModel, windows: Windows, rows: np.ndarray, name: str) -> Tensor:
    """The last layer's states of some windows, padded, (batch, tokens, hidden)."""
    inputs, real = model_inputs(windows, rows, model.config)
    inputs["attention_mask"] = torch.from_numpy(real).long()
    inputs = {key: tensor.to(model.device) for key, tensor in inputs.items()}
    try:
        output = model(**inputs, output_hidden_states=True)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        what = f"{_named(model, name)} does not take a window of {real.shape[1]} tokens"
        raise InputError(f"windows.max_seq_length: {what} ({one_line(error)})") from error
    return hidden_states(model, output, inputs["input_ids"], name)[-1]


def _named(model: PreTrainedModel, name: str) -> str:
    return f"model {name} (type {model.config.model_type})"


def uses_token_types(config: PretrainedConfig) -> bool:
    """Whether the model tells question from context by segment ids (BERT, ALBERT: yes; RoBERTa, DistilBERT: no)."""
    return config.model_type == "xlnet" or getattr(config, "type_vocab_size", 0) > 1


def model_inputs(windows: Windows, rows: np.ndarray, config: PretrainedConfig) -> tuple[dict[str, Tensor], np.ndarray]:
    """The model's arguments for `rows` but for the mask, and which tokens are real: (batch, tokens), int64 and bool.

    NumPy fills them and not torch, which would wake threads for so little, nor the tokenizer, which takes lists.
    """
    lengths = windows.lengths[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    tokens = token_index(windows.starts, rows)
    input_ids = np.full(real.shape, getattr(config, "pad_token_id", None) or 0, dtype=np.int64)
    input_ids[real] = windows.input_ids[tokens]
    inputs = {"input_ids": torch.from_numpy(input_ids)}
    if uses_token_types(config):
        token_type_ids = np.zeros(real.shape, dtype=np.int64)
        token_type_ids[real] = windows.token_type_ids[tokens]
        inputs["token_type_ids"] = torch.from_numpy(token_type_ids)
    return inputs, real


def token_index(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of the tokens of `rows` in a packed array whose window w begins at starts[w], (tokens,) int64."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])

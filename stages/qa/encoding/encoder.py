"""Run windows through an encoder: the hidden states of all layers for each token."""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stages.qa import processes
from stages.qa.data.splits import evenly_spread
from stages.qa.data.windows import Windows
from stages.qa.encoding.heads import last_linear, lens_of, run_with_head
from stages.qa.errors import NumericsError
from stages.qa.models.checkpoints import bf16_is_fast, has_head, load_config, load_model, load_tokenizer
from stages.qa.models.families import check_length, check_model, hidden_states, model_inputs, token_index
from stages.qa.models.manifest import verify_snapshot

logger = logging.getLogger(__name__)
BATCH_TOKENS = {"cpu": 2**12, "cuda": 2**15}  # of one forward pass, at most
BATCH_BYTES = {"cpu": 2**25, "cuda": 2**33}  # of its hidden states: memory does not grow with the number of layers
SAMPLE = 8  # windows on which bfloat16 is compared with float32
TOLERANCE = 0.02  # root mean square error of a layer's states, relative to their root mean square


@dataclass(frozen=True)
class Encoder:
    """A checkpoint in evaluation mode. `model` is a question answering model if the checkpoint has that head."""

    model: PreTrainedModel
    device: torch.device
    tokenizer: PreTrainedTokenizerFast
    head: nn.Linear | None  # float32 copy of the last layer of the checkpoint's own question answering head
    layers: int  # hidden states of a token: embedding output and the output of each layer
    hidden: int
    name: str  # of its folder, for messages
    lens: str | None = None  # as `lens_of` gives it; None: the own head is read at the last layer alone

    @property
    def heads(self) -> int:
        """How often the own head is read: on each layer and on the encoder's output, on that alone, or never."""
        if self.head is None:
            return 0
        return 1 if self.lens is None else self.layers + 1

    @property
    def state_bytes(self) -> int:
        """Bytes of one token's hidden states."""
        return self.layers * self.hidden * self.model.dtype.itemsize


@dataclass(frozen=True)
class Chunk:
    """Hidden states of some windows, packed in the order of `rows`."""

    rows: np.ndarray  # (windows,) int64: indices into Windows
    starts: np.ndarray  # (windows + 1,) int64: window i holds the tokens starts[i] to starts[i + 1]
    states: Tensor  # (layers, tokens, hidden), float32 or bfloat16 as the model is; layer 0 = embedding output
    head_logits: Tensor  # (heads, tokens, 2) float32: start and end, of the own head on each layer, then as it is


def load_encoder(folder: Path, *, device: torch.device) -> Encoder:
    """Verify the checkpoint in `folder` against its manifest, and load it with its own head if it has one."""
    verify_snapshot(folder)
    config = load_config(folder)
    with_head = has_head(folder, config)
    model = load_model(folder, config, head=with_head).eval().to(device)
    tokenizer = load_tokenizer(folder, config)
    last = last_linear(model, folder.name) if with_head else None
    sample = torch.tensor([tokenizer.encode("a sample")], device=device)
    return Encoder(
        model=model,
        device=device,
        tokenizer=tokenizer,
        head=copy.deepcopy(last),
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=folder.name,
        lens=lens_of(model, last, sample, folder.name) if last else None,
    )


def in_precision(encoder: Encoder, windows: Windows, choice: Literal["auto", "fp32", "bf16"]) -> Encoder:
    """`encoder`, tried by `check_model`, with weights and states in the format of `choice`; its head stays in float32.

    auto: bfloat16 if this machine is fast at it, and if no layer's states are off by more than TOLERANCE on a sample of
    `windows`.
    """
    check_model(encoder.model, windows, encoder.name)
    if choice == "fp32" or (choice == "auto" and not processes.from_first(bf16_is_fast(encoder.device.type))):
        return encoder
    half = replace(encoder, model=copy.deepcopy(encoder.model).bfloat16())
    if choice == "bf16":
        return half
    rows = evenly_spread(len(windows), SAMPLE)
    exact = encode(encoder, windows, rows).states
    rounded = encode(half, windows, rows).states.float()
    error = ((exact - rounded).square().mean((1, 2)) / exact.square().mean((1, 2))).sqrt()  # (layers,)
    accepted = processes.from_first(bool((error <= TOLERANCE).all()))
    logger.info("%s: bf16 states are off by %.2g, so %s", encoder.name, error.max(), "bf16" if accepted else "fp32")
    return half if accepted else encoder


@torch.inference_mode()
def encode(
    encoder: Encoder,
    windows: Windows,
    rows: np.ndarray,
    *,
    states: Tensor | None = None,
    advance: Callable[[int], None] = lambda windows: None,
) -> Chunk:
    """Run `rows` of `windows` through the encoder. After each batch, `advance` is called with its number of windows.

    states: where the hidden states are put, as in a Chunk; absent: in new memory. The own head's logits are computed in
    float32 from the input of its last layer, whatever the model's number format. InputError if a window is longer than
    the model can take, NumericsError if a hidden state or a logit of the own head is not finite.
    """
    model, lengths = encoder.model, windows.lengths[rows]
    check_length(model, int(lengths.max(initial=0)), encoder.name)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens, device = int(starts[-1]), encoder.device
    if states is None:
        states = torch.empty(encoder.layers, tokens, encoder.hidden, dtype=model.dtype, device=device)
    head_logits = torch.empty(encoder.heads, tokens, 2, device=device)
    budget = min(BATCH_TOKENS[device.type], BATCH_BYTES[device.type] // encoder.state_bytes)
    for batch in _batches(lengths, budget, exact=device.type == "cpu"):
        inputs, real = model_inputs(windows, rows[batch], model.config)
        if not real.all():
            inputs["attention_mask"] = torch.from_numpy(real).long()
        inputs = {name: _send(tensor, device) for name, tensor in inputs.items()}
        # Indices and not the mask `real`: to count what is true in a mask, the CPU would wait for the GPU each time.
        places = slice(None) if real.all() else _send(torch.from_numpy(np.flatnonzero(real)), device)
        target = _send(torch.from_numpy(token_index(starts, batch)), device)
        if encoder.head is None:
            output = model(**inputs, output_hidden_states=True)
        else:
            output, head_inputs = run_with_head(model, last_linear(model, encoder.name), inputs, lens=encoder.lens)
            for place, head_input in enumerate(head_inputs):  # (batch, tokens, hidden), as in the next loop
                head_logits[place, target] = encoder.head(head_input.flatten(0, 1)[places].float())
        for layer, layer_states in enumerate(hidden_states(model, output, inputs["input_ids"], encoder.name)):
            states[layer, target] = layer_states.flatten(0, 1)[places]
        advance(len(batch))
    chunk = Chunk(rows=rows, starts=starts, states=states, head_logits=head_logits)
    _check_finite(chunk, windows, encoder.name)
    return chunk


def _batches(lengths: np.ndarray, budget: int, *, exact: bool) -> Iterator[np.ndarray]:
    """Indices into `lengths`, sorted by length, in batches of at most `budget` tokens or of one window.

    `exact`, for a CPU: a batch holds windows of one length. There, padding costs time and small batches do not. Such
    batches need no attention mask, and a window's states do not depend on the other windows.
    """
    batch: list[int] = []
    for index in np.argsort(lengths, kind="stable"):
        full = (len(batch) + 1) * lengths[index] > budget
        longer = exact and bool(batch) and lengths[index] != lengths[batch[0]]
        if batch and (full or longer):
            yield np.array(batch)
            batch = []
        batch.append(index)
    if batch:
        yield np.array(batch)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for a GPU to finish its work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _check_finite(chunk: Chunk, windows: Windows, name: str) -> None:
    """NumericsError names the first layer, and its first question, with a hidden state that is not finite."""
    bad_layers = chunk.states.sum(dim=(1, 2)).isfinite().logical_not().nonzero()
    if len(bad_layers):
        layer = int(bad_layers[0])
        bad_tokens = chunk.states[layer].sum(-1).isfinite().logical_not().nonzero()[:, 0].cpu().numpy()
        bad_windows = np.searchsorted(chunk.starts, bad_tokens, side="right") - 1
        question = windows.examples[chunk.rows[bad_windows]].min() + 1
        what = f"hidden states of layer {layer} are not finite"
        raise NumericsError(f"model {name}: {what} (first in question {question})")
    if not chunk.head_logits.sum().isfinite():
        raise NumericsError(f"model {name}: logits of its own head are not finite")


def pieces(
    encoder: Encoder, windows: Windows, order: np.ndarray, *, gib: float, multiple: int = 1
) -> Iterator[np.ndarray]:
    """`order` in pieces whose hidden states take at most `gib` GiB.

    A piece has a multiple of `multiple` windows (the last one has the rest), and at least so many whatever they take.
    """
    most = max(1, int(gib * 2**30 / encoder.state_bytes))  # tokens
    ends = np.cumsum(windows.lengths[order])  # tokens up to and with each window
    first = 0
    while first < len(order):
        done = ends[first - 1] if first > 0 else 0
        fitting = int(np.searchsorted(ends, done + most, side="right")) - first  # windows
        last = first + max(fitting // multiple, 1) * multiple
        yield order[first:last]
        first = last

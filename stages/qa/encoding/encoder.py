"""Run windows through an encoder: the hidden states of all layers, token by token."""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stages.qa import processes
from stages.qa.data.windows import Windows
from stages.qa.errors import IntegrityError, NumericsError
from stages.qa.models.checkpoints import check_length, load_config, load_model, load_tokenizer, uses_token_types
from stages.qa.models.devices import placement
from stages.qa.models.manifest import verify_snapshot
from stages.qa.models.precision import bf16_is_fast

logger = logging.getLogger(__name__)
BATCH_TOKENS = {"cpu": 2**12, "cuda": 2**15}  # of one forward pass, at most
BATCH_BYTES = {"cpu": 2**25, "cuda": 2**33}  # of its hidden states: memory does not grow with the number of layers
SAMPLE = 8  # windows on which bfloat16 is compared with float32
TOLERANCE = 0.02  # root mean square error of a layer's states, relative to their root mean square


@dataclass(frozen=True)
class Encoder:
    """A checkpoint in evaluation mode. `model` is a question answering model if the checkpoint has that head."""

    model: PreTrainedModel
    device: torch.device  # where hidden states come together; a model spread over several has more
    tokenizer: PreTrainedTokenizerFast
    head: nn.Linear | None  # a float32 copy of the last layer of the checkpoint's own question answering head
    layers: int  # hidden states of a token: embedding output and the output of each layer
    hidden: int
    name: str  # of its folder, for messages

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
    head_logits: Tensor | None  # (tokens, 2) float32: start and end logits of the checkpoint's own head


def load_encoder(folder: Path, *, device: torch.device) -> Encoder:
    """Verify the checkpoint in `folder` against its manifest and load it, with its own head if it has one."""
    verify_snapshot(folder)
    config = load_config(folder)
    has_head = any(name.endswith("ForQuestionAnswering") for name in config.architectures or [])
    spread = placement(device, config)
    model = load_model(folder, config, head=has_head, **spread).eval()
    if not spread:
        model.to(device)
    elif hasattr(model, "pooler"):
        model.pooler = None  # nothing reads its output, and checkpoints may lack it: then no file has its weights
    return Encoder(
        model=model,
        device=device,
        tokenizer=load_tokenizer(folder, config),
        head=_own_head(model, folder.name).to(device) if has_head else None,
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=folder.name,
    )


def in_precision(encoder: Encoder, windows: Windows, choice: Literal["auto", "fp32", "bf16"]) -> Encoder:
    """`encoder` with weights and states in the format of `choice`; its own head stays in float32.

    auto: bfloat16 if it is fast here, and if on some of `windows` no layer's states are off by more than TOLERANCE.
    """
    if choice == "fp32" or (choice == "auto" and not processes.from_first(bf16_is_fast(encoder.device.type))):
        return encoder
    half = replace(encoder, model=copy.deepcopy(encoder.model).bfloat16())
    if choice == "bf16":
        return half
    rows = np.unique(np.linspace(0, len(windows) - 1, SAMPLE, dtype=np.int64))
    exact, rounded = (encode(candidate, windows, rows).states.float() for candidate in (encoder, half))
    error = ((exact - rounded).square().mean((1, 2)) / exact.square().mean((1, 2))).sqrt()  # (layers,)
    right = processes.from_first(bool((error <= TOLERANCE).all()))
    logger.info("%s: %s; bf16 states are off by %.2g", encoder.name, "bf16" if right else "fp32", float(error.max()))
    return half if right else encoder


def _own_head(model: PreTrainedModel, name: str) -> nn.Linear:
    """A copy of the layer that gives start and end logits, with its weights wherever they are kept."""
    last = _last_linear(model, name)
    copied = nn.utils.skip_init(nn.Linear, last.in_features, last.out_features, bias=last.bias is not None)
    with align_module_device(last):
        copied.load_state_dict(last.state_dict())
    return copied


def _last_linear(model: PreTrainedModel, name: str) -> nn.Linear:
    """The layer that gives start and end logits."""
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 2]
    if not found:
        raise IntegrityError(f"model {name}: its question answering head gives no start and end logits")
    return found[-1]


@torch.inference_mode()
def encode(
    encoder: Encoder, windows: Windows, rows: np.ndarray, *, advance: Callable[[int], None] = lambda windows: None
) -> Chunk:
    """Run `rows` of `windows` through the encoder, in batches of one length where that wastes no time (CPU).

    `advance` is told how many windows are done. The logits of the checkpoint's own head are computed in float32 from
    what its last layer is given, whatever the model's number format. Raises InputError if a window is longer than the
    model can take, NumericsError if a hidden state or a logit of the checkpoint's head is not a finite number.
    """
    lengths = windows.lengths[rows]
    check_length(encoder.model, int(lengths.max(initial=0)), encoder.name)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    device = encoder.device
    states = torch.empty(encoder.layers, int(starts[-1]), encoder.hidden, dtype=encoder.model.dtype, device=device)
    head_logits = torch.empty(int(starts[-1]), 2, device=device) if encoder.head else None
    head_inputs: list[Tensor] = []
    if encoder.head:
        watched = _last_linear(encoder.model, encoder.name)
        hook = watched.register_forward_pre_hook(lambda module, inputs: head_inputs.append(inputs[0]))
    budget = min(BATCH_TOKENS[device.type], BATCH_BYTES[device.type] // encoder.state_bytes)
    for batch in _batches(lengths, budget, exact=device.type == "cpu"):
        real = np.arange(lengths[batch[-1]]) < lengths[batch][:, None]  # (batch, tokens)
        source = token_index(windows.starts, rows[batch])
        inputs = {"input_ids": _padded(windows.input_ids[source], real, encoder.tokenizer.pad_token_id or 0)}
        if uses_token_types(encoder.model.config):
            inputs["token_type_ids"] = _padded(windows.token_type_ids[source], real, 0)
        if not real.all():
            inputs["attention_mask"] = torch.from_numpy(real).long()
        inputs = {name: _sent(tensor, device) for name, tensor in inputs.items()}
        output = encoder.model(**inputs, output_hidden_states=True)
        # places and not a mask, for which the GPU would have to be waited for each time
        places = slice(None) if real.all() else _sent(torch.from_numpy(np.flatnonzero(real)), device)
        target = _sent(torch.from_numpy(token_index(starts, batch)), device)
        for layer, hidden_states in enumerate(output.hidden_states):  # (batch, tokens, hidden)
            states[layer, target] = hidden_states.flatten(0, 1).to(device)[places]
        if encoder.head and head_logits is not None:
            head_logits[target] = encoder.head(head_inputs.pop().flatten(0, 1).to(device)[places].float())
        advance(len(batch))
    if encoder.head:
        hook.remove()
    if not torch.isfinite(states.sum()):
        layer = int(torch.isfinite(states.sum(dim=(1, 2))).logical_not().nonzero()[0])
        at = torch.isfinite(states[layer].sum(-1)).logical_not().nonzero()[:, 0].cpu().numpy()
        question = windows.examples[rows[np.searchsorted(starts, at, side="right") - 1]].min() + 1
        raise NumericsError(
            f"model {encoder.name}: hidden states of layer {layer} are not finite (first in question {question})"
        )
    if head_logits is not None and not torch.isfinite(head_logits.sum()):
        raise NumericsError(f"model {encoder.name}: logits of its own head are not finite")
    return Chunk(rows=rows, starts=starts, states=states, head_logits=head_logits)


def _padded(values: np.ndarray, real: np.ndarray, padding: int) -> Tensor:
    """`values` where `real` is true, else padding, int64; by NumPy, which does not wake other threads for so little."""
    out = np.full(real.shape, padding, dtype=np.int64)
    out[real] = values
    return torch.from_numpy(out)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for it: a GPU goes on with what it has been given before."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def token_index(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of the tokens of `rows` in a packed array whose window w begins at starts[w], (tokens,) int64."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])


def _batches(lengths: np.ndarray, budget: int, *, exact: bool) -> Iterator[np.ndarray]:
    """Indices into `lengths`, sorted by length, in batches of about `budget` tokens or fewer.

    `exact`, for a CPU: a batch holds one length only. Padding costs time there, small batches do not. Exact-length
    batches need no attention mask, and make a window's states independent of its neighbours.
    """
    order = np.argsort(lengths, kind="stable")
    first = 0
    for last in range(1, len(order) + 1):
        full = last == len(order) or (last - first + 1) * lengths[order[last]] > budget
        if full or (exact and lengths[order[last]] != lengths[order[first]]):
            yield order[first:last]
            first = last


def pieces(
    encoder: Encoder, windows: Windows, order: np.ndarray, *, gib: float, multiple: int = 1
) -> Iterator[np.ndarray]:
    """`order` in pieces of a multiple of `multiple` windows whose hidden states take about `gib` GiB."""
    tokens = max(1, int(gib * 2**30 / encoder.state_bytes))
    ends = np.cumsum(windows.lengths[order])
    first = 0
    while first < len(order):
        done = ends[first - 1] if first else 0
        count = int(np.searchsorted(ends, done + tokens, side="right")) - first
        last = first + max(count // multiple, 1) * multiple
        yield order[first:last]
        first = last

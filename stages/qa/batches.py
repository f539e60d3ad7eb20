"""Windows as the input of a model: which of them go together, padded to one length or end to end in one row."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.qa.checkpoints import first_position, uses_token_types
from stages.qa.windows import Windows


def token_index(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of the tokens of `rows` in a packed array whose window w begins at starts[w], (tokens,) int64."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])


def of_like_length(lengths: np.ndarray, budget: int, *, exact: bool) -> Iterator[np.ndarray]:
    """Indices into `lengths`, sorted by length, in batches of about `budget` tokens or fewer, padding included.

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


def in_turn(lengths: np.ndarray, budget: int, *, multiple: int = 1) -> Iterator[np.ndarray]:
    """Indices into `lengths` in their order, in batches of at most `budget` tokens, at least `multiple` windows."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        done = ends[first - 1] if first else 0
        count = int(np.searchsorted(ends, done + budget, side="right")) - first
        last = min(first + max(count // multiple, 1) * multiple, len(lengths))
        yield np.arange(first, last)
        first = last


def model_inputs(
    model: PreTrainedModel, windows: Windows, rows: np.ndarray, *, padding: int, end_to_end: bool
) -> tuple[dict[str, Any], Tensor]:
    """The arguments of `model` for the windows `rows`, and where in them real tokens are: (rows, tokens) bool.

    Each window has a row of its own, padded to the longest; if `end_to_end`, all lie in one row. See attention.
    """
    lengths = windows.lengths[rows]
    source = token_index(windows.starts, rows)
    widths = [len(source)] if end_to_end else lengths
    real = torch.arange(max(widths)) < torch.tensor(widths)[:, None]

    def laid_out(values: np.ndarray, filler: int) -> Tensor:
        return torch.full(real.shape, filler).masked_scatter_(real, torch.from_numpy(values[source]).long())

    inputs: dict[str, Any] = {"input_ids": laid_out(windows.input_ids, padding)}
    if uses_token_types(model.config):
        inputs["token_type_ids"] = laid_out(windows.token_type_ids, 0)
    if end_to_end:
        first = first_position(model)
        inputs["position_ids"] = torch.cat([torch.arange(first, first + length) for length in lengths.tolist()])[None]
        inputs["cu_seq_lens_q"] = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        inputs["max_length_q"] = int(lengths.max())
    elif not real.all():
        inputs["attention_mask"] = real.long()
    return inputs, real

"""The processes of a stage that runs as several (`accelerate launch`, `torchrun`); as a rule there is but one.

All of them hold the same encoder and the same probes, and each a share of the windows. What they sum they hold alike
afterwards. The first one alone tells, locks and publishes.
"""

import os
from functools import cache
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


def count() -> int:
    """Number of processes, as their launcher set it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", 0))


@cache
def join(*, cpu: bool) -> None:
    """Meet the other processes, and take the GPU of this one unless `cpu`. Once; nothing to do for one process."""
    if count() > 1:
        from accelerate import PartialState  # takes a second, which one process alone need not wait

        PartialState(cpu=cpu)


def summed(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The sum of each tensor over all processes, in one exchange: in the widest of their types, then in their own."""
    if count() == 1:
        return tensors
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True))


def from_first(value: T) -> T:
    """The first process's value, for all."""
    if count() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_each(value: T) -> list[T]:
    """Every process's value, in the order of their numbers."""
    if count() == 1:
        return [value]
    box: list[T | None] = [None] * count()
    torch.distributed.all_gather_object(box, value)
    return cast(list[T], box)


def complete(array: np.ndarray, rows: np.ndarray) -> None:
    """Fill array[:, rows] of every process into `array`; its own `rows` are those that this process has computed."""
    for theirs, values in from_each((rows, array[:, rows])):
        array[:, theirs] = values

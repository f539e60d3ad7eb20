"""The processes of a stage that runs as several (`accelerate launch`, `torchrun`). As a rule there is one.

All of them hold the same encoder and the same probes. Each computes a share of the windows, and after an exchange all
hold the same sums. The first process alone logs, locks and writes.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:  # torch takes seconds: it is imported where several processes need it
    from torch import Tensor

T = TypeVar("T")


def count() -> int:
    """Number of processes, from the launcher's environment."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", 0))


@cache
def join(*, cpu: bool) -> None:
    """Connect to the other processes, and take the GPU of this one unless `cpu`. One process has nothing to do."""
    if count() > 1:
        from accelerate import PartialState  # imported here because it takes a second

        PartialState(cpu=cpu)


def summed(*tensors: "Tensor") -> tuple["Tensor", ...]:
    """The sum of each tensor over all processes. One exchange takes all of them, in the widest of their types."""
    if count() == 1:
        return tensors
    import torch

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True))


def from_each(value: T) -> list[T]:
    """Every process's value, in the order of their numbers, in all processes."""
    if count() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """The first process's value, in all processes."""
    return from_each(value)[0]


def complete(array: np.ndarray, rows: np.ndarray) -> None:
    """Fill the rest of `array` with what the other processes computed: array[:, rows] is this one's part."""
    for others, values in from_each((rows, array[:, rows])):
        array[:, others] = values

"""Whether this machine multiplies bfloat16 fast, and what follows for fine-tuning."""

import time
from functools import cache

import torch

from stages.qa import processes

SIZE, ROUNDS = 1024, 5  # of the timed matrix product
SPEED_UP = 2.5  # of bfloat16 products, below which layer norms, softmax and copies eat the gain on a CPU


@cache
def bf16_is_fast(device: str) -> bool:
    """Whether `device` ("cpu" or "cuda") multiplies bfloat16 matrices much faster than float32 ones; takes some 50 ms.

    No list of instruction sets tells: AVX-512 with bfloat16 gains on one maker's CPUs and loses on another's.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    matrices = {dtype: torch.ones(SIZE, SIZE, dtype=dtype) for dtype in seconds}
    for _ in range(ROUNDS):  # in turns, so that a busy machine slows both
        for dtype, matrix in matrices.items():
            start = time.perf_counter()
            matrix @ matrix
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds[torch.float32] > SPEED_UP * seconds[torch.bfloat16]


def mixed_precision(choice: str, device: str) -> str:
    """The Trainer's: `auto` is bf16 where this machine multiplies it fast, else no; the first process decides."""
    if choice != "auto":
        return choice
    return "bf16" if processes.from_first(bf16_is_fast(device)) else "no"

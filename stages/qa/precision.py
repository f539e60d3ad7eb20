"""Whether this machine multiplies bfloat16 fast, and what follows for fine-tuning."""

import torch

from stages.qa import processes


def bf16_is_fast(device: str) -> bool:
    """Whether `device` ("cpu" or "cuda") multiplies bfloat16 matrices much faster than float32 ones.

    On a CPU: whether it has AMX. AVX-512 with bfloat16 gains on one maker's CPUs and loses on another's, and a timing
    can turn on a busy machine, and with it the bytes of every result.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def mixed_precision(choice: str, device: str) -> str:
    """The Trainer's: `auto` is bf16 where this machine multiplies it fast, else no; the first process decides."""
    if choice != "auto":
        return choice
    return "bf16" if processes.from_first(bf16_is_fast(device)) else "no"

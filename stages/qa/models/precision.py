"""Whether this machine multiplies bfloat16 fast, and which precision fine-tuning takes for that."""

import torch

from stages.qa import processes


def bf16_is_fast(device: str) -> bool:
    """Whether `device` ("cpu" or "cuda") multiplies bfloat16 matrices much faster than float32 ones.

    A CPU does with AMX. AMD's CPUs do with AVX-512 for bfloat16 (4.5 times as fast on a Zen 5), because MKL, which
    multiplies float32 for PyTorch, does not use AVX-512 there. This goes by what the processor can do and not by a
    timing: on a busy machine a timing could turn, and every result with it.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and "AMD" in cpu["cpu_name"]))


def mixed_precision(choice: str, device: str) -> str:
    """The Trainer's precision for `choice`: `auto` is bf16 where this machine multiplies it fast, else no.

    The first process decides for all.
    """
    if choice != "auto":
        return choice
    return "bf16" if processes.from_first(bf16_is_fast(device)) else "no"

"""Whether this machine multiplies bfloat16 fast, and what follows for fine-tuning."""

import torch

from stages.qa import processes


def bf16_is_fast(device: str) -> bool:
    """Whether `device` ("cpu" or "cuda") multiplies bfloat16 matrices much faster than float32 ones.

    On a CPU: with AMX, or where PyTorch's float32 product, MKL's, does without AVX-512 while bfloat16 has it: on AMD's
    CPUs (4.5 times as fast on a Zen 5). Not by a timing: it can turn on a busy machine, and with it every result.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and "AMD" in cpu["cpu_name"]))


def mixed_precision(choice: str, device: str) -> str:
    """The Trainer's: `auto` is bf16 where this machine multiplies it fast, else no; the first process decides."""
    if choice != "auto":
        return choice
    return "bf16" if processes.from_first(bf16_is_fast(device)) else "no"

"""What the benchmark ran on: processor, instruction sets, threads, and how fast it multiplies matrices."""

import os
import platform
import time
from pathlib import Path

import torch
from transformers import PretrainedConfig

WANTED = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "neon", "sve")


def describe() -> str:
    """Processor, vector instructions, threads, versions: no host name, no date."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return (
        f"{fields.get('model name', platform.processor())} ({platform.machine()}), {os.cpu_count()} CPUs, "
        f"{torch.get_num_threads()} threads; {' '.join(f for f in WANTED if f in flags) or 'flags unknown'}; "
        f"torch dispatches to {torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}"
    )


def matmul_peak(dtype: torch.dtype, *, device: str = "cpu", size: int = 2048, rounds: int = 8) -> float:
    """The most FLOP/s of a square matrix product in `dtype`, by the same call that the encoders' linear layers make."""
    a, b = (torch.randn(size, size).to(device, dtype) for _ in range(2))
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def onednn_peak(*, size: int = 2048, rounds: int = 8) -> float:
    """The same in float32 by oneDNN (as a convolution of width 1): on some CPUs faster than torch's own library."""
    a, b = torch.randn(1, size, size), torch.randn(size, size, 1)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.perf_counter()
            torch.nn.functional.conv1d(a, b)
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def forward_flops(config: PretrainedConfig, lengths: list[int]) -> int:
    """Useful operations of a forward pass: two a weight of the linear layers and token, and attention on real tokens.

    Embedding look-ups, norms, activations and softmax are not counted, nor is any padding.
    """
    hidden, inner = config.hidden_size, getattr(config, "intermediate_size", getattr(config, "hidden_dim", 0))
    linear = 2 * (4 * hidden**2 + 2 * hidden * inner)
    return sum(config.num_hidden_layers * (n * linear + 4 * n * n * hidden) for n in lengths)

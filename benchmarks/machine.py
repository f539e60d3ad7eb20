"""What the benchmark runs on, and how fast it multiplies matrices and reads memory."""

import platform
from collections.abc import Callable

import torch
from transformers import PretrainedConfig

from benchmarks.timing import seconds_of


def describe() -> str:
    """Processor, vector instructions, threads, version. No host name and no date."""
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    instructions = torch.backends.cpu.get_cpu_capability()
    return (
        f"{name} ({platform.machine()}), {instructions}, {torch.get_num_threads()} threads; torch {torch.__version__}"
    )


def matmul_rate(dtype: torch.dtype, *, device: str = "cpu", size: int = 2048, rounds: int = 8) -> float:
    """The highest FLOP/s of a square matrix product in `dtype`, by the call that an encoder's linear layers make."""
    one, other = torch.randn(size, size).to(device, dtype), torch.randn(size, size).to(device, dtype)

    def product() -> None:
        torch.nn.functional.linear(one, other)
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * size**3 / _least_seconds(product, rounds)


def copy_rate(size: int = 2**28, rounds: int = 8) -> float:
    """The highest bytes/s that the CPU reads while it copies `size` bytes."""
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return size / _least_seconds(lambda: target.copy_(source), rounds)


def _least_seconds(work: Callable[[], object], rounds: int) -> float:
    """The shortest time of `work`."""
    return min(seconds_of(work) for _ in range(rounds))


def forward_flops(config: PretrainedConfig, lengths: list[int]) -> int:
    """Useful operations of a forward pass over windows of these lengths.

    Two operations for each weight of the linear layers and token, and attention between real tokens. Embeddings, norms,
    activations, softmax and padding are not counted.
    """
    hidden = config.hidden_size
    inner = config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size
    linear = 2 * (4 * hidden**2 + 2 * hidden * inner)  # of one token in one layer
    of_windows = [n * linear + 4 * n * n * hidden for n in lengths]
    return config.num_hidden_layers * sum(of_windows)

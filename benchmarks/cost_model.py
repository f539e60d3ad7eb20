"""`python -m benchmarks.cost_model`: what the original study would cost on GPUs, on paper (docs/scaling.md).

Nothing here was measured on a GPU. Operations are exact (benchmarks/shapes.py, tested against torch's own counter);
rates are the assumptions below. With --measure, the same model predicts this CPU's forward passes and is compared.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import AutoModel, PretrainedConfig

from benchmarks.gpu import encoder_of, random_windows, squad_lengths
from benchmarks.machine import describe, matmul_peak
from benchmarks.shapes import MINILM, SHAPES, operations, parameters
from benchmarks.timing import timed
from stages.qa.encoding.encoder import BATCH_TOKENS, encode

# SQuAD 2.0 in windows of 384 tokens (stride 128, questions of 64), MiniLM's tokenizer: windows, tokens of one on
# average, and pairs of tokens per token (mean of squares over mean). Train: 10 articles, scaled to all; dev: CS224N's.
TRAIN, DEV = (132_000, 173, 207), (6_372, 190, 228)
DEV_QUESTIONS = 6_078
EPOCHS, BATCH = 3, 8  # studies/paper.yaml: of probes and fine-tuning; windows

MATMUL = 790e12  # FLOP/s of an H200 (or H100 SXM) in bfloat16 products; 989e12 is the data sheet's
FORWARD, TUNING = 0.40, 0.28  # of it: published runs of such encoders reach 0.35 to 0.45 unpadded, and 0.25 to 0.30
LAUNCH = 0.45e-3  # seconds a layer and forward pass: a training step of 12 layers is told to take 15 to 20 ms
UPDATE = 0.9e-3  # seconds of an update of all probes, the launches of two layers: an assumption
PCIE, DISK, NVLINK, NETWORK = 50e9, 5e9, 300e9, 50e9  # bytes/s a GPU: to the host; NVMe; in a node of 8; between nodes
STATE_BYTES, ANSWER_BYTES = 2, 100  # bfloat16; an answer and its null probability, as JSON


@dataclass(frozen=True)
class Cost:
    """Seconds on some GPUs: computing, or launching kernels if that is slower, and then summing gradients."""

    compute: float
    launch: float
    all_reduce: float = 0.0

    @property
    def seconds(self) -> float:
        return max(self.compute, self.launch) + self.all_reduce

    @property
    def bottleneck(self) -> str:
        return max(("compute", "launch", "all_reduce"), key=lambda name: getattr(self, name)).replace("_", "-")


def forward_flops(config: PretrainedConfig, data: tuple[int, int, int] = TRAIN) -> float:
    """Of one forward pass over a data set, real tokens alone."""
    windows, length, pairs = data
    linear, attention = operations(config)
    return windows * length * (linear + attention * pairs)


def state_bytes(config: PretrainedConfig, data: tuple[int, int, int] = TRAIN) -> float:
    """Of the hidden states of all layers."""
    return data[0] * data[1] * (config.num_hidden_layers + 1) * config.hidden_size * STATE_BYTES


def frozen(
    config: PretrainedConfig, gpus: int, data: tuple[int, int, int] = TRAIN, *, passes: float = 1, updates: float = 0
) -> Cost:
    """Forward passes over a data set, and updates of the probes: they follow one another, so GPUs do not share them."""
    tokens = data[0] * data[1]
    flops = forward_flops(config, data) + probe_flops(config) * tokens
    forwards = passes * tokens / BATCH_TOKENS["cuda"] / gpus
    return Cost(
        compute=passes * flops / (MATMUL * FORWARD) / gpus,
        launch=forwards * config.num_hidden_layers * LAUNCH + updates * UPDATE,
    )


def probe_flops(config: PretrainedConfig) -> int:
    """Of an update, a token: logits and gradients, of two vectors a layer."""
    return 8 * (config.num_hidden_layers + 1) * config.hidden_size


def tuning(config: PretrainedConfig, weights: int, gpus: int, *, windows: int) -> Cost:
    """Three epochs of run_squad with `windows` a GPU and step; the gradients of all weights (4 bytes) are summed."""
    steps = EPOCHS * TRAIN[0] / windows / gpus
    ring = 2 * (gpus - 1) / gpus * 4 * weights / (NVLINK if gpus <= 8 else NETWORK)
    return Cost(
        compute=EPOCHS * 3 * forward_flops(config) / (MATMUL * TUNING) / gpus,
        launch=steps * 3 * config.num_hidden_layers * LAUNCH,
        all_reduce=steps * ring,
    )


def operations_table() -> str:
    heads = "weights, M", "MFLOP a token", "train forward, PFLOP", "dev forward", "3 epochs of probes", "of fine-tuning"
    lines = [f"| encoder | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name, config in SHAPES.items():
        flops = forward_flops(config)
        probes = EPOCHS * (flops + probe_flops(config) * TRAIN[0] * TRAIN[1])
        figures = [flops / 1e15, forward_flops(config, DEV) / 1e15, probes / 1e15, 3 * EPOCHS * flops / 1e15]
        cells = [f"{parameters(config) / 1e6:,.0f}", f"{flops / TRAIN[0] / TRAIN[1] / 1e6:,.0f}"]
        lines.append(f"| {name} | {' | '.join([*cells, *map(shown, figures)])} |")
    return "\n".join(lines)


def time_table() -> str:
    heads = "probes, 1", "8", "64", "waits for", "tuning, 1", "8", "64", "waits for", "batch of 8 in all, 8"
    lines = [f"| encoder | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name, config in SHAPES.items():
        weights = parameters(config)
        passes = [frozen(config, gpus, passes=EPOCHS, updates=EPOCHS * TRAIN[0] / BATCH) for gpus in (1, 8, 64)]
        tunings = [tuning(config, weights, gpus, windows=BATCH) for gpus in (1, 8, 64)]
        fixed = tuning(config, weights, 8, windows=1)
        cells = [hours(cost, gpus) for cost, gpus in zip(passes, (1, 8, 64), strict=True)]
        cells += [", ".join(cost.bottleneck for cost in passes)]
        cells += [hours(cost, gpus) for cost, gpus in zip(tunings, (1, 8, 64), strict=True)]
        cells += [", ".join(cost.bottleneck for cost in tunings), hours(fixed, 8)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def hours(cost: Cost, gpus: int) -> str:
    """GPU-hours and, in brackets, minutes on the clock."""
    return f"{shown(cost.seconds * gpus / 3600, 2)} ({shown(cost.seconds / 60, 2)})"


def shown(value: float, digits: int = 3) -> str:
    """So many digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def disk_table() -> str:
    heads = "states, TB", "recomputed, s", "over PCIe, s", "from NVMe, s", "checkpoint, GB", "kept in tuning, GB"
    lines = [f"| encoder | {' | '.join(heads)} | predictions, MB |", "|---|" + "---:|" * (len(heads) + 1)]
    for name, config in SHAPES.items():
        weights, states = parameters(config), state_bytes(config)
        readings = (config.num_hidden_layers + 1) * (4 * EPOCHS + 1)  # four protocols read AdamW's epochs, one convex
        cells = [states / 1e12, frozen(config, 1).seconds, states / PCIE, states / DISK]
        cells += [4 * weights / 1e9, 2 * 12 * weights / 1e9, readings * DEV_QUESTIONS * ANSWER_BYTES / 1e6]
        lines.append(f"| {name} | {' | '.join(map(shown, cells))} |")
    return "\n".join(lines)


def measured_table(windows: int) -> str:
    """Forward passes of this CPU: the share of the matmul rate of MiniLM's shape predicts the other shapes."""
    lengths = np.random.default_rng(0).choice(squad_lengths(), windows)
    shapes = {"MiniLM-L6": MINILM} | {name: SHAPES[name] for name in ("DistilBERT", "BERT-base", "ALBERT-base")}
    lines = ["| shape | GFLOP | share of the matmul rate | predicted, s | measured, s | ratio |", "|---|" + "---:|" * 5]
    share = 0.0
    for name, config in shapes.items():
        torch.manual_seed(0)
        encoder = encoder_of(AutoModel.from_config(config, dtype=torch.bfloat16).eval(), name)
        packed = random_windows(lengths, config.vocab_size)
        linear, attention = operations(config)
        flops = float((lengths * linear + lengths**2 * attention).sum())
        encode(encoder, packed, np.arange(min(8, windows)))
        peaks, spent = [], []
        for _ in range(3):
            peaks.append(matmul_peak(torch.bfloat16))
            spent.append(timed(partial(encode, encoder, packed, np.arange(windows)))[0].wall)
        peak, seconds = max(peaks), min(spent)
        share = share or flops / peak / seconds
        predicted = flops / peak / share
        cells = [f"{flops / 1e9:.0f}", f"{flops / peak / seconds:.2f}", f"{predicted:.2f}", f"{seconds:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {predicted / seconds:.2f} |")
    return "\n".join(lines)


def main(
    measure: Annotated[int, typer.Option(help="Windows of a forward pass to compare with, on this CPU.")] = 0,
) -> None:
    """Print the tables."""
    if measure:
        print(f"{describe()}; bfloat16\n\n{measured_table(measure)}")
        return
    print("\n\n".join([operations_table(), time_table(), disk_table()]))


if __name__ == "__main__":
    typer.run(main)

"""`make bench-gpu`: the frozen forward pass and a fine-tuning step on a GPU, as shares of its measured matmul rate.

The shapes of five encoders with random weights: only their configurations are used, without a hub, and nothing is said
of accuracy. Lengths are those of real windows (SQuAD or the sample), token ids are random. Operations are counted on
real tokens; padding and the copies of hidden states cost time and count for nothing. The forward pass is the pipeline's
own `encode`. Fine-tuning is a bare loop in bfloat16 autocast over batches of like length with fused AdamW, as the
pipeline's Trainer is set up, and counts three times the operations of a forward pass.
On a machine without a GPU it says so and ends with 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import (
    AlbertConfig,
    AutoModelForQuestionAnswering,
    BertConfig,
    DistilBertConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from benchmarks.machine import forward_flops, matmul_rate
from benchmarks.questions import read_questions
from benchmarks.random_models import FIRST_ID, random_encoder, random_windows
from benchmarks.timing import seconds_of
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import encode, pieces
from stages.qa.models.checkpoints import pick_device

TRAIN_WINDOWS = 132_000  # of SQuAD 2.0 train
MEAN_TOKENS = 173  # of one of them
ROUNDS = 3
STEP = 32  # windows of a fine-tuning step
STEPS = 10  # of one timing
SECONDS = 2.0  # of one timing of the forward pass, about
CHUNK_GIB = 8.0  # of hidden states at once
ALBERT: dict[str, Any] = {
    "num_hidden_layers": 12,
    "hidden_act": "gelu_pytorch_tanh",  # what load_config makes of ALBERT's gelu_new
}
SHAPES: dict[str, PretrainedConfig] = {
    "MiniLM-L6": BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    "DistilBERT": DistilBertConfig(),
    "BERT-base": BertConfig(),
    "ALBERT-base": AlbertConfig(**ALBERT, hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "ALBERT-xxlarge": AlbertConfig(**ALBERT, hidden_size=4096, num_attention_heads=64, intermediate_size=16384),
}


@dataclass(frozen=True)
class Speed:
    """What was timed: windows of these lengths, so many seconds, and the operations of so many forward passes."""

    config: PretrainedConfig
    lengths: np.ndarray
    seconds: float
    passes: int  # 3 for fine-tuning

    @property
    def tokens_per_second(self) -> float:
        return float(self.lengths.sum()) / self.seconds

    def cells(self, rate: float, *, epochs: int) -> list[str]:
        """Tokens a second, share of the matmul rate, and seconds of epochs over SQuAD train (at the matmul rate)."""
        share = self.passes * forward_flops(self.config, self.lengths.tolist()) / self.seconds / rate
        whole = epochs * self.seconds * TRAIN_WINDOWS / len(self.lengths)
        return [f"{self.tokens_per_second:,.0f}", f"{share:.1%}", f"{whole:.1f} ({whole * share:.1f})"]


def main() -> None:
    """Print the table, or that there is nothing to measure."""
    if not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    pick_device()  # sets PyTorch up as the pipeline does
    lengths = squad_lengths()
    rate = matmul_rate(torch.bfloat16, device="cuda", size=8192, rounds=20)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; bfloat16 matmul {rate / 1e12:.0f} TFLOP/s")
    print(f"windows of {lengths.mean():.0f} tokens on average, longest {lengths.max()}\n")
    print("| shape | tokens/s | share of the matmul rate | SQuAD train forward, s (floor) | "
          "fine-tuning tokens/s | share | 3 epochs, s (floor) |\n|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for name, config in SHAPES.items():
        cells = [name, *forward_cells(name, config, lengths, rate)]
        torch.cuda.empty_cache()
        cells += finetuning_cells(config, lengths, rate)
        torch.cuda.empty_cache()
        print(f"| {' | '.join(cells)} |", flush=True)


def squad_lengths() -> np.ndarray:
    """Lengths of real windows in words, scaled to SQuAD's mean: close enough to wordpieces for the spread."""
    words = np.array([len(f"{example.question} {example.context}".split()) for example in read_questions(None).train])
    return np.minimum(np.round(words * MEAN_TOKENS / words.mean()), 384).astype(np.int64)


def forward_cells(name: str, config: PretrainedConfig, lengths: np.ndarray, rate: float) -> list[str]:
    """The fastest round of the frozen forward pass, one epoch over SQuAD train."""
    encoder = random_encoder(config, name, dtype=torch.bfloat16, device="cuda")
    flops_of_window = forward_flops(config, lengths.tolist()) / len(lengths)
    count = int(np.clip(0.4 * rate * SECONDS / flops_of_window, 64, 20_000))
    generator = np.random.default_rng(0)

    def forward(windows: Windows) -> None:
        for piece in pieces(encoder, windows, np.arange(count), gib=CHUNK_GIB):
            encode(encoder, windows, piece)
        torch.cuda.synchronize()

    forward(random_windows(generator.choice(lengths, count), config.vocab_size))  # warms up
    speeds = []
    for _ in range(ROUNDS):  # each with other windows: what a library plans anew for each shape counts
        windows = random_windows(generator.choice(lengths, count), config.vocab_size)
        speeds.append(Speed(config, windows.lengths, seconds_of(partial(forward, windows)), passes=1))
    fastest = max(speeds, key=lambda speed: speed.tokens_per_second)
    return fastest.cells(rate, epochs=1)


def finetuning_cells(config: PretrainedConfig, lengths: np.ndarray, rate: float) -> list[str]:
    """The fastest round of fine-tuning, three epochs over SQuAD train."""
    with torch.device("cuda"):
        model = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32).train()
    drawn = np.random.default_rng(1).choice(lengths, 5 * STEPS * STEP)
    by_length = np.sort(drawn)[::-1]  # so that a batch has like lengths, as the pipeline groups them
    batches = [by_length[first : first + STEP].copy() for first in range(0, len(by_length), 5 * STEP)]
    steps = finetuning_steps(model, batches)
    try:
        steps()
        seconds = min(seconds_of(steps) for _ in range(ROUNDS))
    except torch.cuda.OutOfMemoryError:
        return ["out of memory", "-", "-"]
    return Speed(config, np.concatenate(batches), seconds, passes=3).cells(rate, epochs=3)


def finetuning_steps(model: PreTrainedModel, batches: list[np.ndarray]) -> Callable[[], None]:
    """A function that takes one step for each of `batches`, which are lengths of windows, the longest first."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def steps() -> None:
        for batch in batches:
            lengths = torch.from_numpy(batch)
            real = torch.arange(int(batch[0])) < lengths[:, None]
            last = (lengths - 1).to("cuda")
            with torch.autocast("cuda", dtype=torch.bfloat16):
                output = model(
                    input_ids=torch.randint(FIRST_ID, model.config.vocab_size, real.shape).to("cuda"),
                    attention_mask=real.long().to("cuda"),
                    start_positions=last,
                    end_positions=last,
                )
            output.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        torch.cuda.synchronize()

    return steps


if __name__ == "__main__":
    main()

"""`make bench-growth`: how time and memory grow with the work, as fitted slopes of log cost on log size.

A slope of 1 is linear, 0 flat. Small sizes carry fixed costs, so a slope below 1 is no miracle; none may be far above 1
but that of window length, where attention adds a square. Memory: the hidden states that are kept (bytes, exact), and
the peak resident size of a fresh process for each number of layers, less its size when the encoder is loaded.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers.utils import logging as transformers_logging

from benchmarks.layer_memory import MEMORY, TIME, make_encoder
from benchmarks.machine import describe
from benchmarks.sides import WINDOWS, answers_ours, settings, train_ours, windows_of
from benchmarks.texts import read_texts
from benchmarks.timing import timed
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, in_precision, load_encoder

MULTIPLES = (1, 3, 10)
LAYERS = (2, 6, 12, 24)
ROUNDS = 3


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Of log cost on log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main(
    model: Annotated[Path, typer.Option(envvar="BENCH_MODEL", help="Folder of the checkpoint.")] = Path(
        "data/models/minilm"
    ),
    questions: Annotated[int, typer.Option(help="The size x1.")] = 24,
) -> None:
    """Time each size in turns, print slopes."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    texts = read_texts(questions * MULTIPLES[-1])
    encoder = load_encoder(model, device=torch.device("cpu"))
    encoder = in_precision(encoder, windows_of(encoder, texts.train), "auto")
    probes = train_ours(encoder, texts.train[:questions], settings(epochs=1, rates=(1e-3,)))
    print(f"{describe()}\n\n{texts.name}, from {questions} questions; {encoder.model.dtype} states.\n")
    print("| what grows | sizes | what it costs | costs | slope |\n|---|---|---|---|---:|", flush=True)

    sizes = [questions * multiple for multiple in MULTIPLES]
    tokens = [windows_of(encoder, texts.train[:size]).starts[-1] for size in sizes]
    show("questions", sizes, "text to windows, s", lambda n: windows_of(encoder, texts.train[:n]), repeat=10)
    one = settings(epochs=1)
    show("questions", sizes, "questions to probes, 1 epoch, s", lambda n: train_ours(encoder, texts.train[:n], one))
    show("questions", sizes, "questions to answers, s", lambda n: answers_ours(encoder, texts.dev[:n], probes))
    print(line("questions", sizes, "kept hidden states, MB", [encoder.state_bytes * int(n) / 1e6 for n in tokens]))

    some = texts.train[:questions]
    variants = [1, 3, 10, 30]
    show("variants", variants, "questions to probes, 1 epoch, s", lambda n: train_variants(encoder, some, n))

    text = sorted(texts.train, key=lambda e: -len(e.context))
    lengths = [64, 128, 256, 512]
    cut = {length: of_length(encoder, text, length, total=8 * lengths[-1]) for length in lengths}
    show(
        "window length",
        lengths,
        "forward pass of 4096 tokens, s",
        lambda n: encode(encoder, cut[n], np.arange(len(cut[n]))),
    )
    if sys.platform != "linux":
        print("Layers: measured on Linux alone.")
        return
    results = [layer_costs(count) for count in LAYERS]
    for name in (TIME, MEMORY):
        print(line("layers (random encoder, hidden 128)", LAYERS, name, [result[name] for result in results]))


def train_variants(encoder: Encoder, some: list[Example], count: int) -> None:
    train_ours(encoder, some, settings(epochs=1, seeds=count))


def of_length(encoder: Encoder, examples: list[Example], length: int, *, total: int) -> Windows:
    """Windows of exactly `length` tokens, real text, `total` tokens in all: contexts are joined, again if need be."""
    joined = " ".join(dict.fromkeys(example.context for example in examples)) + " "
    enough = joined * (1 + total * 12 // len(joined))
    one = replace(examples[0], context=enough[: total * 12], answers=(), is_impossible=True)
    sizes = {**WINDOWS, "max_seq_length": length, "doc_stride": max(1, length - 64)}
    windows = make_windows([one], encoder.tokenizer, **sizes)
    rows = np.flatnonzero(windows.lengths == length)[: total // length]
    return keep(windows, rows)


def keep(windows: Windows, rows: np.ndarray) -> Windows:
    """The first windows up to the last of `rows`, which must be the first ones."""
    count = int(rows[-1]) + 1
    end = windows.starts[count]
    return Windows(
        input_ids=windows.input_ids[:end],
        token_type_ids=windows.token_type_ids[:end],
        offsets=windows.offsets[:end],
        starts=windows.starts[: count + 1],
        examples=windows.examples[:count],
        articles=windows.articles[:count],
        context=windows.context[:count],
        targets=windows.targets[:count],
    )


def show(what: str, sizes: list[int], cost: str, work: Callable[[int], object], *, repeat: int = 1) -> None:
    """Time `work` of every size in turns, least of the rounds, and print the row."""
    work(sizes[0])
    rounds = [[timed(partial(work, size), repeat=repeat)[0].wall for size in sizes] for _ in range(ROUNDS)]
    print(line(what, sizes, cost, [min(times) for times in zip(*rounds, strict=True)]), flush=True)


def line(what: str, sizes: Sequence[int], cost: str, costs: Sequence[float]) -> str:
    """A row of the Markdown table."""
    shown = " ".join(f"{value:.3g}" for value in costs)
    return f"| {what} | {' '.join(map(str, sizes))} | {cost} | {shown} | {slope(sizes, costs):.2f} |"


def layer_costs(layers: int) -> dict[str, float]:
    """Costs of one epoch in a fresh process, as benchmarks.layer_memory prints them."""
    with tempfile.TemporaryDirectory() as folder:
        make_encoder(Path(folder), layers)
        command = [sys.executable, "-m", "benchmarks.layer_memory", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    typer.run(main)

"""`make bench-growth`: how time grows with the work, as fitted slopes of log time on log size.

A slope of 1 is linear, 0 is flat. Small sizes carry fixed costs, so a slope below 1 is no miracle. Only that of the
window length may be above 1, because attention grows with the square.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from transformers import BertConfig
from typer import Option

from benchmarks.machine import describe
from benchmarks.questions import read_questions
from benchmarks.random_models import random_encoder, random_windows
from benchmarks.sides import answers_ours, settings, train_ours, windows_of
from benchmarks.timing import seconds_of
from stages.qa.cli import run
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import encode, in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import train_probes

MULTIPLES = (1, 3, 10)  # of the number of questions
LENGTHS = (64, 128, 256, 512)
TOKENS = 4096  # of the forward passes over windows of different lengths
WINDOWS = 200  # for encoders of different depths
ROUNDS = 3


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Of log cost on log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main(
    model: Annotated[Path, Option(envvar="BENCH_MODEL", help="Folder of the checkpoint.")] = Path("data/models/minilm"),
    questions: Annotated[int, Option(help="The smallest number of questions.")] = 24,
) -> None:
    """Time each size in turns, print slopes."""
    logging.disable(logging.INFO)  # progress is of no interest here
    texts = read_questions(questions * MULTIPLES[-1])
    exact = load_encoder(model, device=torch.device("cpu"))
    encoder = in_precision(exact, windows_of(exact, texts.train), "auto")
    vocabulary = encoder.model.config.vocab_size
    smallest = texts.train[:questions]
    probes = train_ours(encoder, smallest, settings(epochs=1, rates=[1e-3]))
    print(f"{describe()}\n\n{texts.source}, from {questions} questions; {encoder.model.dtype} states.\n")
    print("| what grows | sizes | what is timed | seconds | slope |\n|---|---|---|---|---:|", flush=True)

    sizes = [questions * multiple for multiple in MULTIPLES]
    one = settings(epochs=1)
    show("questions", sizes, "text to windows", lambda n: windows_of(encoder, texts.train[:n]), repeat=10)
    show("questions", sizes, "questions to probes, 1 epoch", lambda n: train_ours(encoder, texts.train[:n], one))
    show("questions", sizes, "questions to answers", lambda n: answers_ours(encoder, texts.dev[:n], probes))
    show(
        "variants",
        (1, 3, 10, 30),
        "questions to probes, 1 epoch",
        lambda n: train_ours(encoder, smallest, settings(epochs=1, seeds=n)),
    )
    by_length = {length: random_windows([length] * (TOKENS // length), vocabulary) for length in LENGTHS}
    show(
        "window length",
        LENGTHS,
        f"forward pass of {TOKENS} tokens",
        lambda n: encode(encoder, by_length[n], np.arange(len(by_length[n]))),
    )
    lengths = windows_of(encoder, texts.train).lengths[:WINDOWS]
    windows = random_windows(lengths, vocabulary)
    show(
        "layers (random encoder, hidden 128)",
        (2, 6, 12, 24),
        "forward pass and 1 epoch of probes",
        lambda n: train_on_layers(n, windows, vocabulary),
    )


def train_on_layers(layers: int, windows: Windows, vocabulary: int) -> None:
    """Make a random encoder of so many layers and train probes on it."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=512,
    )
    encoder = random_encoder(config, f"{layers} layers", dtype=torch.float32, device="cpu")
    train_probes(Features(encoder, windows, gib=4.0), settings(epochs=1))


def show(what: str, sizes: Sequence[int], timing: str, work: Callable[[int], object], *, repeat: int = 1) -> None:
    """Time `work` of every size in turns, and print the shortest times and their slope as a row in Markdown."""
    work(sizes[0])  # sets up libraries and thread pools
    shortest = dict.fromkeys(sizes, float("inf"))
    for _ in range(ROUNDS):
        for size in sizes:
            shortest[size] = min(shortest[size], seconds_of(partial(work, size), repeat=repeat))
    seconds = list(shortest.values())
    cells = [
        what,
        " ".join(str(size) for size in sizes),
        timing,
        " ".join(f"{value:.3g}" for value in seconds),
        f"{slope(sizes, seconds):.2f}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run(main)

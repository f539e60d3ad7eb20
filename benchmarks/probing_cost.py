"""What controls, code length, mixes and networks cost beside the forward pass of the encoder. Prints a table.

    python -m benchmarks.probing_cost data/models/minilm data/sample/train.json

Each step is timed on the same windows, its rounds in turns with those of the others, and the fastest round counts. The
settings are those of params.yaml; the last lines put the steps together for its study, given its numbers of questions.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from typer import Option

from stages.qa.checks.controls import evenly_spread
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import encode, in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.models.checkpoints import pick_device
from stages.qa.probing.extras import new_extras
from stages.qa.probing.probes import ProbeBank, initial_weights, with_dropout
from stages.qa.probing.random_spans import random_spans


def main(
    model_dir: Path,
    train_file: Path,
    study: Path = Path("params.yaml"),
    questions: Annotated[int, Option(help="Timed on so many.")] = 64,
    rounds: int = 5,
    train_questions: Annotated[int, Option(help="Of the whole study.")] = 1474,
    dev_questions: Annotated[int, Option(help="Of the whole study.")] = 866,  # the held-out ones are answered too
) -> None:
    """Time the parts of one training pass of MODEL_DIR over a few questions of TRAIN_FILE."""
    params = load_params(study)
    probe, sample = params.probe, params.examine
    examples = evenly_spread(read_squad(train_file, purpose="train"), questions)
    encoder = load_encoder(model_dir, device=pick_device())
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    encoder = in_precision(encoder, windows, params.precision)
    rows = np.arange(len(windows))
    random_targets, _ = random_spans(windows, doc_stride=params.windows.doc_stride, seed=0)
    features = Features(encoder, windows, gib=probe.feature_memory_gib)
    batches = list(features.batches(rows, probe.batch_size))
    settings = {"code_length": params.code_length, "mixing": params.mixing, "mlp": params.mlp}
    steps: dict[str, Callable[[], object]] = {"forward": lambda: encode(encoder, windows, rows)}
    steps["probes"] = bank_pass(encoder.layers, encoder.hidden, batches, probe.dropout)
    for name in settings:
        chosen = {other: value if other == name else None for other, value in settings.items()}
        extras = new_extras(encoder, probe=probe, random_targets=random_targets, **chosen)  # type: ignore[arg-type]

        def learn(learners: list = extras.learners) -> None:  # type: ignore[type-arg]
            for batch in batches:
                for learner in learners:
                    learner.update(0, len(batch.rows), batch)

        steps[name] = learn
    seconds = {name: float("inf") for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name] = min(seconds[name], (time.perf_counter() - start) / len(windows))
    forward, single = seconds.pop("forward"), seconds["probes"]
    print(f"{encoder.name}, {encoder.model.dtype}, {torch.get_num_threads()} threads; {len(windows)} windows")
    print(f"{'forward':<24}{1000 * forward:9.3f} ms a window")
    for name, value in seconds.items():
        print(f"{name:<24}{1000 * value:9.3f} ms a window an epoch, {value / forward:.2%} of the forward pass")
    whole = train_questions + dev_questions
    trained, read = (
        min(a, b) for a, b in ((sample.training_questions, train_questions), (sample.dev_questions, dev_questions))
    )
    bounds = {name: min(value.windows, train_questions) for name, value in settings.items() if value}
    beside = sum(seconds[name] * windows for name, windows in bounds.items())
    controls = 3 * (trained + read) * forward + 4 * trained * sample.epochs * single
    base = forward * whole
    print(f"study: {train_questions} + {dev_questions} questions, {probe.epochs} epochs; shares of its forward pass")
    print(
        f"  learners beside the probes {beside / base:.2%}; controls {controls / base:.2%} (their forward passes "
        f"{3 * (trained + read) / whole:.2%}); together {(beside + controls) / base:.2%}"
    )
    print(f"  comparison with a base, where there is one: {2 * read / whole:.2%} more")


def bank_pass(layers: int, hidden: int, batches: list, dropout: float) -> Callable[[], None]:  # type: ignore[type-arg]
    """One epoch of a single-seed, single-rate probe bank."""
    start = initial_weights(layers, hidden, [0], std=0.02)
    bank = ProbeBank(start.to(batches[0].store.device), torch.tensor([1e-3]), max_grad_norm=1.0)

    def learn() -> None:
        for batch in batches:
            bank.update(with_dropout(batch, dropout, 0))

    return learn


if __name__ == "__main__":
    run(main)

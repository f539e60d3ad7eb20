"""The rows of `make bench`: for each, what both sides do while the clock runs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.agreement import packed, read_spans, spans_by_loop
from benchmarks.finetuning_windows import baseline_window, our_window
from benchmarks.original_features import original_features
from benchmarks.original_probe import BATCH, DROPOUT, LEARNING_RATE, OriginalProbe, original_logits
from benchmarks.questions import Questions
from benchmarks.sides import WINDOWS, Original, answers_ours, as_original, settings, train_ours, windows_of
from benchmarks.timing import Row, clock
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import ProbeBank, initial_weights, with_dropout
from stages.qa.probing.readouts import Probes

FEW = 32  # windows on which single steps are checked and timed; all windows if there are fewer


def training_rows(original: Original, encoder: Encoder, examples: list[Example]) -> list[Row]:
    """Text to windows, and text to trained probes."""
    one, three = settings(epochs=1), settings(epochs=3)
    variants = settings(epochs=1, rates=(1e-5, 3e-5, 1e-4, 3e-4), seeds=5)
    ours_one = clock(lambda: train_ours(encoder, examples, one))
    ours_three = clock(lambda: train_ours(encoder, examples, three))
    theirs_one = clock(lambda: original.train(examples, epochs=1))
    theirs_three = clock(lambda: original.train(examples, epochs=3))
    no_masks = clock(lambda: original.train(examples, epochs=1, dropout=0.0))
    return [
        Row("train_1_epoch", "questions to probes, 1 epoch", theirs_one, ours_one),
        Row("train_1_epoch_no_masks", "... against the original without its dropout masks", no_masks, ours_one),
        Row("train_3_epochs", "questions to probes, 3 epochs", theirs_three, ours_three),
        Row(
            "windows",
            "text to token windows",
            clock(lambda: original_features(examples, original.tokenizer, training=True, **WINDOWS)),
            clock(lambda: windows_of(encoder, examples), repeat=20),
        ),
        Row(
            "variants_20",
            "cost of 20 variants (baseline) against 1: ours, questions to probes, 1 epoch",
            clock(lambda: train_ours(encoder, examples, variants)),
            ours_one,
        ),
    ]


def answer_row(original: Original, encoder: Encoder, examples: list[Example], probes: Probes) -> Row:
    """Text to answers, with the same probes."""
    modules, last = as_original(probes), Probes(probes.readouts[-1:], probes.weights[-1:])
    return Row(
        "predict",
        "questions to answers of all layers",
        clock(lambda: original.answers(examples, modules)),
        clock(lambda: answers_ours(encoder, examples, last)),
    )


def span_row(probes: Sequence[OriginalProbe], states: Sequence[Tensor], windows: Windows) -> Row:
    """The best span of each window and layer, from the logits of `probes` on padded `states`."""
    logits = original_logits(probes, states)
    real = packed(logits, windows)
    return Row(
        "span_search",
        "best span of each window and layer, from logits",
        clock(lambda: spans_by_loop(logits, windows)),
        clock(lambda: read_spans(real, windows, logits.shape[1]), repeat=20),
    )


def update_rows(
    original: Original, states: Sequence[Tensor], starts: Tensor, ends: Tensor, encoder: Encoder, windows: Windows
) -> list[Row]:
    """Updates of the probes of all layers, in batches of 8 of the same windows, whose states are there already."""
    features = Features(encoder, windows, gib=settings(epochs=1).feature_memory_gib)
    order = np.random.default_rng(0).permutation(len(starts))
    next(features.batches(order, BATCH))  # computes the states and keeps them

    def theirs(dropout: float, repeat: int) -> Callable[[], float]:
        probes = original.new_probes(dropout=dropout)

        def updates() -> None:
            for first in range(0, len(starts), BATCH):
                rows = slice(first, first + BATCH)
                for probe, layer in zip(probes, states, strict=True):
                    probe.train(layer[rows], starts[rows].clone(), ends[rows].clone())

        return clock(updates, repeat=repeat)

    def ours(dropout: float) -> Callable[[], float]:
        initial = initial_weights(encoder.layers, encoder.hidden, [0], std=0.02)
        bank = ProbeBank(initial, torch.tensor([LEARNING_RATE]), max_grad_norm=1.0)

        def updates() -> None:  # to gather a batch from the kept states is counted
            for batch in features.batches(order, BATCH):
                bank.update(with_dropout(batch, dropout, 0))

        return clock(updates, repeat=10)

    return [
        Row(
            "probe_update_no_dropout",
            "probe updates, batches of 8, all layers, no dropout on either side",
            theirs(0.0, repeat=3),
            ours(0.0),
        ),
        Row("probe_update_dropout", "... with dropout on both sides", theirs(DROPOUT, repeat=1), ours(DROPOUT)),
    ]


def finetuning_rows(folder: Path, original: Original, encoder: Encoder, examples: list[Example]) -> list[Row]:
    """One window of fine-tuning the checkpoint in `folder`."""
    windows = windows_of(encoder, examples)
    theirs = partial(baseline_window, folder, original, examples)
    ours = partial(our_window, folder, windows, dropout=0.0)
    ours_with_dropout = partial(our_window, folder, windows, dropout=None)
    return [
        Row("finetune_step", "fine-tuning, one window; ours without dropout, as in params.yaml", theirs, ours),
        Row("finetune_step_dropout", "... ours with the checkpoint's dropout too", theirs, ours_with_dropout),
    ]


def all_rows(
    folder: Path, original: Original, encoder: Encoder, texts: Questions, windows: Windows, probes: Probes
) -> list[Row]:
    """Every row. `windows` are those of the train questions; single steps are timed on the first of them."""
    states, starts, ends = original.states(texts.train, FEW)
    third = texts.train[::3]  # the lengths are like those of all; fine-tuning takes long
    return [
        *training_rows(original, encoder, texts.train),
        answer_row(original, encoder, texts.dev, probes),
        *update_rows(original, states, starts, ends, encoder, windows),
        span_row(as_original(probes), states, windows),
        *finetuning_rows(folder, original, encoder, third),
    ]

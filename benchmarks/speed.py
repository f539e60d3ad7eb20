"""`make bench`: the pipeline against the original study's algorithm, in one process, as a table of paired ratios.

What would flatter, and how it is avoided:

- Padded tokens as throughput: times are for the same questions; the forward pass counts operations on real tokens only.
- Variants or seeds as speed-up: all rows but one train one variant. The row variants_20 is a cost (20 against 1), never
  a speed-up.
- Keeping states between epochs as a faster forward pass: one epoch and three epochs are two rows.
- Dropout: the pipeline draws one mask for all layers and both sides, the original one for each. The probe update is
  timed with dropout on both sides and, the row that counts, with the original's dropout removed; the end-to-end row is
  printed against the original without its masks too. Fine-tuning is timed without dropout, as params.yaml has it, and
  with the checkpoint's own; both are in the table.
- Eager attention as the baseline: both sides use PyTorch's SDPA.
- Synthetic lengths, scattered questions: all questions of whole paragraphs, in their order, of real SQuAD (SQUAD_DIR)
  or of the sample; the table says which, with the mean number of tokens. Neighbouring questions share their context, in
  real data too: tokenising a context once is worth more there than on scattered questions.
- Absolute seconds: ratios are the result. They are of runs that take turns in one process, the order swapped each
  round; the table has median, least and most, by wall clock and by CPU time of all threads.
- bfloat16 without a gate: the run fails if the same probes answer differently on more than 5 % of the questions, or
  their loss moves by more than 0.01 nats, on bfloat16 states.
- Work on one side only: imports, loading of the checkpoint, and the choice of the number format (in_precision, once a
  stage) are counted on neither side; tokenisation is on both. Files are written on neither side.
- Fewer results: the pipeline's side also trains and reads layer 0, which the original has not, and the true spans.
- Another result: before anything is timed, both sides must give the same input ids, the same spans from equal logits,
  the same answers from float32 states, and the same probe updates where dropout and padding do not differ. What does
  differ: the original's softmax runs over padding too, in training.
- A metric that is blind: no score is compared here; spans are, null or not.
- Speed of a broken baseline: the original's context bounds are the intended ones (see original_probe).
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from transformers.utils import logging as transformers_logging

from benchmarks import agreement
from benchmarks.finetuning_steps import baseline_window, our_window
from benchmarks.machine import describe, forward_flops, matmul_peak, onednn_peak
from benchmarks.original_features import original_features
from benchmarks.original_probe import original_logits
from benchmarks.sides import (
    BATCH,
    DROPOUT,
    LEARNING_RATE,
    MEMORY_GIB,
    WINDOWS,
    Original,
    answers_ours,
    as_original,
    settings,
    train_ours,
    windows_of,
)
from benchmarks.texts import read_texts
from benchmarks.timing import Row, Seconds, timed
from stages.qa.encoding.encoder import encode, in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import ProbeBank, initial_weights, train_probes, with_dropout
from stages.qa.probing.readouts import Probes

Times = dict[str, Seconds]
Side = Callable[[], Times]
STATES = 32  # windows whose padded states are kept for the rows of single steps
NAMES = {  # rows of the JSON file, and what each is
    "train_1_epoch": "questions to probes, 1 epoch",
    "train_3_epochs": "questions to probes, 3 epochs",
    "predict": "questions to answers of all layers",
    "probe_update_no_dropout": "probe update, batch 8, all layers, no dropout on either side",
    "probe_update_dropout": "... with dropout on both sides",
    "span_search": "best span of each window and layer, from logits",
    "windows": "text to token windows",
    "finetune_step": "fine-tuning, a window; ours without dropout (params.yaml)",
    "finetune_step_dropout": "... ours with the checkpoint's dropout too",
    "variants_20": "cost of 20 variants against 1: questions to probes, 1 epoch",
    "forward_peak_share": "frozen forward pass: share of the measured matmul rate, real tokens only",
}


def main(
    model: Annotated[Path, typer.Option(envvar="BENCH_MODEL", help="Folder of the checkpoint.")] = Path(
        "data/models/minilm"
    ),
    out: Annotated[Path | None, typer.Option("--json", envvar="BENCH_JSON", help="Write {name: ratio} here.")] = None,
    questions: Annotated[int, typer.Option(help="Train and dev questions each; whole paragraphs.")] = 96,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.")] = 3,
    precision: Annotated[str, typer.Option(help="Of our frozen encoder: auto, fp32 or bf16.")] = "auto",
) -> None:
    """Check that both sides agree, time them in turns, print the table."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    texts = read_texts(questions)
    original = Original.load(model)
    exact = load_encoder(model, device=torch.device("cpu"))
    windows, dev_windows = windows_of(exact, texts.train), windows_of(exact, texts.dev)
    choosing, encoder = timed(lambda: in_precision(exact, windows, precision))  # type: ignore[arg-type]
    dtype = encoder.model.dtype
    fast = Features(exact, windows, gib=MEMORY_GIB)
    probes = train_probes(fast, settings(epochs=1, rates=(1e-3,)))
    some_windows = min(STATES, len(windows))
    states, starts, ends = original.states(texts.train, some_windows)
    some = texts.dev[: len(texts.dev) // 3]
    lines = [
        agreement.check_windows(original, windows, texts.train, training=True),
        agreement.check_windows(original, dev_windows, texts.dev, training=False),
        agreement.check_spans(as_original(probes), states, windows),
        agreement.check_updates(states, starts, ends, lr=LEARNING_RATE),
        agreement.check_updates(states, starts, ends, lr=1e-2),
        agreement.check_answers(original, exact, some, probes),
        agreement.check_precision(exact, encoder, texts.train, texts.dev, probes),
    ]
    print(f"{describe()}\n")
    print(
        f"{texts.name}: {len(texts.train)} train questions, {len(windows)} windows of {windows.lengths.mean():.0f} "
        f"tokens (longest {windows.lengths.max()}); {len(texts.dev)} dev questions, {len(dev_windows)} windows of "
        f"{dev_windows.lengths.mean():.0f}. {model.name}, {encoder.layers - 1} layers, hidden {encoder.hidden}."
    )
    print(f"Our frozen forward pass: {str(dtype).removeprefix('torch.')} (choosing took {choosing.wall:.2f} s).")
    print("".join(f"Checked: {line}.\n" for line in lines), flush=True)

    def original_training() -> Times:
        one, _, three = original.train(texts.train, epochs=3)  # nothing is kept between epochs: 1 epoch is a prefix
        return {"train_1_epoch": one, "train_3_epochs": three}

    def our_training() -> Times:
        return {
            "train_1_epoch": timed(lambda: train_ours(encoder, texts.train, settings(epochs=1)))[0],
            "train_3_epochs": timed(lambda: train_ours(encoder, texts.train, settings(epochs=3)))[0],
        }

    read = Probes(probes.readouts[-1:], probes.weights[-1:])
    modules = as_original(probes)
    logits = original_logits(modules, states)
    packed = agreement.packed(logits, windows)
    shuffled = np.random.default_rng(0).permutation(some_windows)
    kept = Features(encoder, windows, gib=MEMORY_GIB)
    next(iter(kept.batches(shuffled, BATCH)))  # states are computed once
    tuned = texts.train[::3]  # lengths as in the whole, for the sake of time
    tuned_windows = windows_of(exact, tuned)

    def original_updates(dropout: float) -> Seconds:
        new = original.new_probes(dropout=dropout)

        def updates() -> None:
            for first in range(0, some_windows, BATCH):
                rows = slice(first, first + BATCH)
                for probe, layer in zip(new, states, strict=True):
                    probe.train(layer[rows], starts[rows].clone(), ends[rows].clone())

        return timed(updates, repeat=1 if dropout else 3)[0]

    def our_updates(dropout: float) -> Seconds:
        weights = initial_weights(encoder.layers, encoder.hidden, [0], std=0.02)
        bank = ProbeBank(weights, torch.tensor([LEARNING_RATE]), max_grad_norm=1.0)

        def updates() -> None:  # gathering the batch from the kept states is counted
            for batch in kept.batches(shuffled, BATCH):
                bank.update(with_dropout(batch, dropout, 0))

        return timed(updates, repeat=10)[0]

    pairs: list[tuple[Side, Side]] = [
        (original_training, our_training),
        (
            lambda: {"predict": timed(lambda: original.answers(texts.dev, modules))[0]},
            lambda: {"predict": timed(lambda: answers_ours(encoder, texts.dev, read))[0]},
        ),
        (
            lambda: {
                "probe_update_no_dropout": original_updates(0.0),
                "probe_update_dropout": original_updates(DROPOUT),
            },
            lambda: {"probe_update_no_dropout": our_updates(0.0), "probe_update_dropout": our_updates(DROPOUT)},
        ),
        (
            lambda: {"span_search": timed(lambda: agreement.spans_by_loop(logits, windows))[0]},
            lambda: {"span_search": timed(lambda: agreement.read_spans(packed, windows, some_windows), repeat=20)[0]},
        ),
        (
            lambda: {
                "windows": timed(lambda: original_features(texts.train, original.tokenizer, training=True, **WINDOWS))[
                    0
                ]
            },
            lambda: {"windows": timed(lambda: windows_of(encoder, texts.train), repeat=20)[0]},
        ),
        (
            lambda: dict.fromkeys(("finetune_step", "finetune_step_dropout"), baseline_window(model, original, tuned)),
            lambda: {
                "finetune_step": our_window(model, tuned_windows, dropout=0.0),
                "finetune_step_dropout": our_window(model, tuned_windows, dropout=None),
            },
        ),
        (
            lambda: {"variants_20": timed(lambda: train_ours(encoder, texts.train, settings(epochs=1)))[0]},
            lambda: {
                "variants_20": timed(
                    lambda: train_ours(
                        encoder, texts.train, settings(epochs=1, rates=(1e-5, 3e-5, 1e-4, 3e-4), seeds=5)
                    )
                )[0]
            },
        ),
    ]
    rows = {name: Row(name, what) for name, what in NAMES.items() if name != "forward_peak_share"}
    shares, peaks = [], []
    useful = forward_flops(encoder.model.config, windows.lengths.tolist())
    for number in range(rounds):
        for baseline, ours in pairs:
            first, second = (baseline, ours) if number % 2 == 0 else (ours, baseline)
            one, other = first(), second()
            theirs, mine = (one, other) if number % 2 == 0 else (other, one)
            for name in mine:
                rows[name].add(theirs[name], mine[name])
        peaks.append(matmul_peak(dtype))
        spent, _ = timed(lambda: encode(encoder, windows, np.arange(len(windows))))
        shares.append(useful / spent.wall / peaks[-1])
    print(table(rows, shares))
    print(remarks(rows, len(windows), some_windows))
    rates = {"float32": matmul_peak(torch.float32), "bfloat16": matmul_peak(torch.bfloat16), "oneDNN": onednn_peak()}
    print(
        f"\nMeasured matmul rates, GFLOP/s: float32 {rates['float32'] / 1e9:.0f} (through oneDNN "
        f"{rates['oneDNN'] / 1e9:.0f}), bfloat16 {rates['bfloat16'] / 1e9:.0f}; the frozen forward pass reaches "
        f"{median(shares) * median(peaks) / 1e9:.0f} on real tokens. GPU: {gpu()}."
    )
    if out is not None:
        result = {name: row.ratio for name, row in rows.items() if not name.endswith("_dropout") or "_no_" in name}
        result["variants_20"] = 1 / result["variants_20"]
        result["forward_peak_share"] = median(shares)
        out.write_text(json.dumps({name: round(value, 4) for name, value in result.items()}, indent=1) + "\n")


def table(rows: dict[str, Row], shares: list[float]) -> str:
    """Markdown: ratios are the original's time over ours, but for the last two rows."""
    lines = [
        "| row | what | ratio (median) | least to most | ratio of CPU time | original, s | ours, s |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [row.line(inverse=name == "variants_20") for name, row in rows.items()]
    share = f"{median(shares):.3g} | {min(shares):.3g} to {max(shares):.3g}"
    return "\n".join([*lines, f"| forward_peak_share | {NAMES['forward_peak_share']} | {share} | - | - | - |"])


def remarks(rows: dict[str, Row], windows: int, timed_windows: int) -> str:
    """What the end-to-end row would be against the original without its dropout masks, computed from the rows."""
    masks = [
        (a - b) / timed_windows
        for a, b in zip(rows["probe_update_dropout"].baseline, rows["probe_update_no_dropout"].baseline, strict=True)
    ]
    lean = [
        (base.wall - mask.wall * windows) / ours.wall
        for base, mask, ours in zip(rows["train_1_epoch"].baseline, masks, rows["train_1_epoch"].ours, strict=True)
    ]
    return (
        f"\ntrain_1_epoch against the original less its dropout masks (computed): {median(lean):.3g}. In variants_20 "
        "the two times are of 1 and of 20 variants. Fine-tuning times are for one window."
    )


def gpu() -> str:
    if not torch.cuda.is_available():
        return "none here, not measured"
    return f"{torch.cuda.get_device_name()}: see python -m benchmarks.gpu"


if __name__ == "__main__":
    typer.run(main)

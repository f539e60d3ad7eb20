"""`make bench`: the pipeline against the original study's algorithm, in one process, as a table of paired ratios.

What would flatter the pipeline, and how it is avoided:

- Padding counted as work: times are for the same questions, and the forward pass counts operations on real tokens.
- Variants counted as speed: all rows train one variant, but for variants_20, which is a cost.
- Kept states counted as a faster forward pass: one epoch and three epochs are two rows.
- Dropout: the pipeline draws one mask for all layers and both sides, the original one for each. Rows without the
  original's masks stand beside those with them.
- Eager attention in the baseline: both sides use PyTorch's SDPA, but our fine-tuning in bfloat16 is faster without.
- Short or scattered questions: all questions of whole paragraphs, in order, of real SQuAD (SQUAD_DIR) or the sample.
- Absolute seconds: the results are ratios of runs that take turns, in an order that changes each round.
- Results that change: the run fails if bfloat16 changes more than 5 % of the answers, or if the two sides do not have
  the same input ids, spans from equal logits, answers from float32 states, and updates where dropout and padding do
  not differ. One difference remains: in training, the original's softmax runs over padding too.
- Work on one side only: imports, loading the checkpoint and choosing the number format are counted on neither side,
  and neither writes files. Both tokenise. The pipeline also trains and reads layer 0, which the original does not.
- A broken baseline: the original's bounds of the context are the intended ones (see original_probe).
"""

import json
import logging
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
from typer import Option

from benchmarks import agreement
from benchmarks.machine import copy_rate, describe, forward_flops, matmul_rate
from benchmarks.original_probe import LEARNING_RATE
from benchmarks.questions import Questions, read_questions
from benchmarks.rows import FEW, all_rows
from benchmarks.sides import Original, as_original, settings, train_ours, windows_of
from benchmarks.timing import Row, seconds_of, start_seconds
from stages.qa.cli import run
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder, encode, in_precision, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.convex import mean_loss
from stages.qa.probing.readouts import Probes

NOT_IN_JSON = ("train_1_epoch_no_masks", "probe_update_dropout", "finetune_step_dropout")
GOALS = {  # ratios are to be at least so high, unless they say otherwise
    "train_1_epoch": "6",
    "train_3_epochs": "12",
    "predict": "5",
    "variants_20": "at most 1.15",
    "probe_update_no_dropout": "6",
    "finetune_step": "2.5 in float32, 4 with AVX-512, 6 with AMX",
}


def main(
    model: Annotated[Path, Option(envvar="BENCH_MODEL", help="Folder of the checkpoint.")] = Path("data/models/minilm"),
    out: Annotated[Path | None, Option("--json", envvar="BENCH_JSON", help="Write {name: ratio} here.")] = None,
    questions: Annotated[int, Option(help="Train and dev questions each; whole paragraphs.")] = 96,
    rounds: Annotated[int, Option(help="Alternating rounds.")] = 3,
) -> None:
    """Check that both sides agree, time them in turns, print the table."""
    logging.disable(logging.INFO)  # progress is of no interest here
    texts = read_questions(questions)
    exact = load_encoder(model, device=torch.device("cpu"))
    original = Original.load(model)
    windows = windows_of(exact, texts.train)
    encoder = in_precision(exact, windows, "auto")
    probes = train_ours(exact, texts.train, settings(epochs=1, rates=[1e-3]))
    print(f"{describe()}\n")
    print(f"{model.name}: {encoder.layers - 1} layers, hidden {encoder.hidden}; ours in {encoder.model.dtype}.")
    print(f"{texts.source}: {len(texts.train)} train and {len(texts.dev)} dev questions,")
    print(f"{len(windows)} training windows of {windows.lengths.mean():.0f} tokens on average.")
    print(f"A batch of the forward pass has windows of one length; there are {len(set(windows.lengths))} lengths.")
    check(original, exact, encoder, texts, windows, probes)
    rows = all_rows(model, original, encoder, texts, windows, probes)
    features = Features(encoder, windows, gib=settings(epochs=1).feature_memory_gib)
    weights = torch.from_numpy(probes.weights[-1])
    mean_loss(features, weights)  # computes the states and keeps them
    size, rate = encoder.state_bytes * int(windows.starts[-1]), copy_rate()
    shares, passes = [], []
    for number in range(rounds):
        for row in rows:
            row.run(ours_first=number % 2 == 1)
        shares.append(forward_share(encoder, windows))
        passes.append(seconds_of(lambda: mean_loss(features, weights), repeat=5))
    starts = {name: start_seconds(f"stages.{name}") for name in ("evaluate", "predict", "finetune")}
    print(table(rows, shares))
    print("\nStart of a stage, seconds of CPU:", ", ".join(f"{name} {value:.1f}" for name, value in starts.items()))
    print("Goals: 1 for evaluate, 3.5 for the others.")
    print(f"\nMeasured matmul rate in float32: {matmul_rate(torch.float32) / 1e9:.0f} GFLOP/s.")
    share = size / rate / median(passes)
    print(f"A convex pass over {size / 1e6:.0f} MB of states takes {median(passes):.3f} s.")
    print(f"That is {share:.2f} of the rate at which a copy reads, {rate / 1e9:.1f} GB/s. Goal: a third.")
    if out is not None:
        ratios = {row.name: median(row.ratios) for row in rows if row.name not in NOT_IN_JSON}
        ratios["forward_peak_share"] = median(shares)
        ratios |= {"start_evaluate": starts["evaluate"], "convex_pass": median(passes), "copy_share": share}
        rounded = {name: round(value, 4) for name, value in ratios.items()}
        out.write_text(json.dumps(rounded, indent=1) + "\n")


def check(
    original: Original, exact: Encoder, encoder: Encoder, texts: Questions, windows: Windows, probes: Probes
) -> None:
    """Print what agrees; DisagreementError if something does not. `exact` is `encoder` in float32."""
    states, starts, ends = original.states(texts.train, FEW)
    results = [
        agreement.check_windows(original, windows, texts.train, training=True),
        agreement.check_windows(original, windows_of(exact, texts.dev), texts.dev, training=False),
        agreement.check_spans(as_original(probes), states, windows),
        agreement.check_updates(states, starts, ends, lr=LEARNING_RATE),
        agreement.check_updates(states, starts, ends, lr=1e-2),
        agreement.check_answers(original, exact, texts.dev[: len(texts.dev) // 3], probes),
        agreement.check_precision(exact, encoder, texts.dev, probes),
    ]
    for result in results:
        print(f"Checked: {result}.", flush=True)


def forward_share(encoder: Encoder, windows: Windows) -> float:
    """Operations on real tokens a second in our forward pass, as a share of the matmul rate in its number format."""
    rate = matmul_rate(encoder.model.dtype)
    seconds = seconds_of(lambda: encode(encoder, windows, np.arange(len(windows))))
    return forward_flops(encoder.model.config, windows.lengths.tolist()) / seconds / rate


def table(rows: list[Row], shares: list[float]) -> str:
    """Markdown: the ratios are the baseline's time over ours."""
    share = f"{median(shares):.3g} | {min(shares):.3g} to {max(shares):.3g}"
    lines = [
        "",
        "| row | what | ratio (median) | least to most | baseline, s | ours, s | goal |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(f"{row.line()} {GOALS.get(row.name, '-')} |" for row in rows),
        f"| forward_peak_share | frozen forward pass: share of the matmul rate, real tokens | {share} | - | - | 0.22 |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)

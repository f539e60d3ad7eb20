"""Seconds of fine-tuning for one window: run_qa's defaults against the pipeline's fine-tuning."""

import math
import tempfile
import time
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import AutoModelForQuestionAnswering

from benchmarks.sides import Original
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.finetuning.training import finetune
from stages.qa.sections import Finetuning

BATCH = 8  # windows
STEPS = 2  # of the baseline, after one that warms up
LEARNING_RATE = 5e-5


def baseline_window(folder: Path, original: Original, examples: list[Example]) -> float:
    """run_qa.py's defaults: padded to 384, float32, batch 8, the checkpoint's dropout, AdamW at 5e-5, SDPA attention.

    A bare loop without the Trainer, so without its overhead.
    """
    dataset = original.features(examples, training=True)
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    ends_of_steps = []
    for step in range(STEPS + 1):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(dataset)
        ids, mask, types, starts, ends = (column[rows] for column in dataset.tensors)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        model(**inputs, start_positions=starts, end_positions=ends).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ends_of_steps.append(time.perf_counter())
    return (ends_of_steps[-1] - ends_of_steps[0]) / (STEPS * BATCH)


def our_window(folder: Path, windows: Windows, *, dropout: float | None) -> float:
    """The second of two epochs of `finetune`, from the last optimiser step of the first. `dropout` None: as saved.

    Everything that the Trainer does between two steps is counted.
    """
    settings = Finetuning(
        base="base",
        learning_rate=LEARNING_RATE,
        num_train_epochs=2,
        train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        warmup=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        dropout=dropout,
        mixed_precision="auto",
        save_steps=10**6,
        seed=0,
    )
    ends_of_steps: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: ends_of_steps.append(time.perf_counter()))
    try:
        with tempfile.TemporaryDirectory() as work:
            place = Path(work)
            finetune(folder, windows, place / "out", settings=settings, checkpoints=place, device=torch.device("cpu"))
    finally:
        hook.remove()
    steps = math.ceil(len(windows) / BATCH)  # of an epoch
    if len(ends_of_steps) != 2 * steps:
        raise RuntimeError(f"{len(ends_of_steps)} optimiser steps in 2 epochs of {steps}")
    return (ends_of_steps[-1] - ends_of_steps[steps - 1]) / len(windows)

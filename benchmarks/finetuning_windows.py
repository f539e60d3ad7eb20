"""Seconds a window of fine-tuning: run_qa's defaults against the pipeline's fine-tuning."""

import tempfile
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import AutoModelForQuestionAnswering

from benchmarks.original_features import original_features
from benchmarks.sides import WINDOWS, Original
from benchmarks.timing import Seconds, now
from stages.qa.config import Finetuning
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.finetuning.training import finetune

BATCH = 8


def baseline_window(folder: Path, original: Original, examples: list[Example], *, steps: int = 2) -> Seconds:
    """run_qa.py's defaults: padded to 384, float32, batch 8, the checkpoint's dropout, AdamW at 5e-5, SDPA attention.

    A bare loop without the Trainer, so without its overhead.
    """
    _, dataset = original_features(examples, original.tokenizer, training=True, **WINDOWS)
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
    marks = []
    for step in range(steps + 1):  # the first warms up
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(dataset)
        ids, mask, types, starts, ends = (column[rows] for column in dataset.tensors)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        model(**inputs, start_positions=starts, end_positions=ends).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(now())
    return (marks[-1] - marks[0]) / (steps * BATCH)


def our_window(folder: Path, windows: Windows, *, dropout: float | None) -> Seconds:
    """The second of two epochs of `finetune`, from the last optimiser step of the first: every window once.

    All that the Trainer does in between is counted. `dropout` None: the checkpoint's own.
    """
    settings = Finetuning(
        base="base",
        learning_rate=5e-5,
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
    marks: list[Seconds] = []
    handle = register_optimizer_step_post_hook(lambda *_: marks.append(now()))
    try:
        with tempfile.TemporaryDirectory() as work:
            place = Path(work)
            finetune(folder, windows, place / "out", settings=settings, checkpoints=place, device=torch.device("cpu"))
    finally:
        handle.remove()
    epoch = -(-len(windows) // BATCH)
    assert len(marks) == 2 * epoch, f"{len(marks)} optimiser steps in 2 epochs of {epoch}"
    return (marks[-1] - marks[epoch - 1]) / len(windows)

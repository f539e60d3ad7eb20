"""Fine-tune an encoder with a span head: what run_squad does, on the transformers Trainer."""

import logging
import math
import os
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Sampler
from transformers import PretrainedConfig, PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from stages.qa import processes
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.errors import InputError, NumericsError
from stages.qa.files import disk_faults, write_json
from stages.qa.finetuning.resuming import fingerprint, last_checkpoint, only_training
from stages.qa.models.checkpoints import bf16_is_fast, load_config, load_model, load_tokenizer, save_model
from stages.qa.models.families import check_model, model_inputs
from stages.qa.models.manifest import verify_snapshot, write_manifest
from stages.qa.sections import Finetuning

logger = logging.getLogger(__name__)
DROPOUTS = (  # their names in the configurations of the encoder families
    *("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "dropout"),
    *("qa_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
)
LOG_POINTS = 100  # points of a loss curve
NO_TARGET = 10**6  # a position past the end of any window, which the loss ignores


class _Order(Sampler[int]):
    """Windows of similar length side by side, in an order that depends on the seed and the epoch alone.

    The last step of an epoch is filled up with windows from the start of the order. Accelerate does the same, but only
    for several processes, which would then take other steps than one process. The Trainer's own group_by_length draws
    from torch's global generator: a resumed epoch would have another order.
    """

    def __init__(self, windows: Windows, *, group: int, seed: int) -> None:
        self.lengths, self.group, self.seed, self.epoch = windows.lengths.tolist(), group, seed, 0

    def set_epoch(self, epoch: int) -> None:  # called by the Trainer
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.group) * self.group

    def __iter__(self) -> Iterator[int]:
        seed = int(np.random.default_rng([self.seed, self.epoch]).integers(2**32))
        generator = torch.Generator().manual_seed(seed)
        order = get_length_grouped_indices(self.lengths, self.group, generator=generator)
        return islice(cycle(order), len(self))


class _Trainer(Trainer):
    """The Trainer with our order of the windows, the learning rates of all `steps`, and one line for a full disk."""

    def __init__(self, *, order: _Order, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order, self.steps = order, steps

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return self.order

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LRScheduler:
        return super().create_scheduler(self.steps, optimizer)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with disk_faults(Path(str(self.args.output_dir))):
            super()._save_checkpoint(*args, **kwargs)


class _Watch(TrainerCallback):
    """Seals checkpoints, stops at a loss that is not finite, and writes log lines where no bar is shown."""

    def on_save(self, args: TrainingArguments, state: TrainerState, *others: Any, **kwargs: Any) -> None:
        step = f"checkpoint-{state.global_step}"
        processes.from_each(step)  # wait until each has written its part
        if processes.rank() == 0:
            write_manifest(Path(str(args.output_dir)) / step, source=step)

    def on_log(self, args: TrainingArguments, state: TrainerState, *others: Any, **kwargs: Any) -> None:
        loss = state.log_history[-1].get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise NumericsError(f"step {state.global_step}: the loss is {loss}; is the learning rate too high?")
        if args.disable_tqdm and state.global_step % (10 * args.logging_steps) == 0:
            logger.info("fine-tuning: step %d of %d, loss %.3f", state.global_step, state.max_steps, loss)


def finetune(
    base: Path, windows: Windows, out: Path, *, settings: Finetuning, checkpoints: Path, device: torch.device
) -> None:
    """Train `base` with a new span head on `windows`; write model, tokenizer, loss log and manifest to `out`.

    Checkpoints go to a folder of `checkpoints` that is named for all that they depend on. A training that was stopped
    goes on from the last whole one. Raises NumericsError if the loss or a weight is not finite, InputError if a window
    is longer than the model can take, BusyError if another process runs the same training.
    """
    for name in "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED":  # set by the launcher
        if os.environ.get(name, "false").lower() == "true":
            raise InputError(f"{name}: fine-tuning keeps all weights in each process; start it without")
    work = checkpoints / fingerprint(verify_snapshot(base), windows, settings)
    with only_training(work):
        _train(base, windows, out, settings=settings, work=work, device=device)


def _train(base: Path, windows: Windows, out: Path, *, settings: Finetuning, work: Path, device: torch.device) -> None:
    """`finetune`, with the checkpoints of this training in `work`."""
    torch.manual_seed(settings.seed)  # before the model is loaded: that draws the new head
    config = load_config(base)
    for name in DROPOUTS:
        if settings.dropout is not None and hasattr(config, name):
            setattr(config, name, settings.dropout)
    model = load_model(base, config, head=True, fresh_head=True)
    tokenizer = load_tokenizer(base, config)
    model.to(device)  # type: ignore[arg-type]
    check_model(model, windows, base.name)
    order = _Order(windows, group=settings.train_batch_size * settings.gradient_accumulation_steps, seed=settings.seed)
    steps = len(order) // order.group * settings.num_train_epochs
    precision: str = settings.mixed_precision
    if precision == "auto":
        precision = "bf16" if processes.from_first(bf16_is_fast(device.type)) else "no"
    if device.type == "cpu" and precision == "bf16":
        model.set_attn_implementation("eager")  # PyTorch's fused attention is slow backwards here: docs/performance.md
    trainer = _Trainer(
        order=order,
        steps=steps,
        model=model,
        args=_arguments(settings, work=work, steps=steps, precision=precision, device=device),
        train_dataset=range(len(windows)),
        data_collator=lambda rows: _batch(windows, np.array(rows), config),
        callbacks=[_Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    if processes.rank() > 0:
        torch.manual_seed(settings.seed + processes.rank())  # other windows, so other dropout than the first process's
    last = processes.from_first(last_checkpoint(work) if processes.rank() == 0 else None)
    resumed = f", from {last.name}" if last else ""
    logger.info("fine-tuning %s: %d windows, %d steps, %s precision, on %s%s",
                base.name, len(windows), steps, precision, device.type, resumed)  # fmt: skip
    trainer.train(resume_from_checkpoint=str(last) if last else None)  # takes no step from a checkpoint of the last one
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
        raise NumericsError(f"{base.name}: weights are not finite after training; is the learning rate too high?")
    if processes.rank() > 0:
        return
    save_model(model, out)
    tokenizer.save_pretrained(out)
    losses = [row for row in trainer.state.log_history if "loss" in row]
    write_json(out / "loss.json", [{name: row[name] for name in ("step", "epoch", "loss")} for row in losses])
    write_manifest(out, source=f"finetune:{base.name}")


def _batch(windows: Windows, rows: np.ndarray, config: PretrainedConfig) -> dict[str, Tensor]:
    """What the model is given for a step on the windows `rows`."""
    inputs, real = model_inputs(windows, rows, config)
    targets = torch.from_numpy(windows.targets[rows])
    targets = torch.where(targets == IGNORED, NO_TARGET, targets)
    positions = {"start_positions": targets[:, 0], "end_positions": targets[:, 1]}
    return {**inputs, **positions, "attention_mask": torch.from_numpy(real).long()}


def _arguments(
    settings: Finetuning, *, work: Path, steps: int, precision: str, device: torch.device
) -> TrainingArguments:
    """The Trainer's arguments for a training of `steps` steps, or of its first share."""
    batch_size, accumulation = _shared_batch(settings)
    logging_steps = max(1, steps // LOG_POINTS)
    arguments = TrainingArguments(
        output_dir=str(work),
        learning_rate=settings.learning_rate,
        max_steps=math.ceil(steps * (settings.stop_after or 1)),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        warmup_steps=settings.warmup,  # below 1: a share of the steps; after them the rate falls linearly
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        # A checkpoint keeps only losses that are logged, so it is saved at a step that logs.
        save_steps=math.ceil(settings.save_steps / logging_steps) * logging_steps,
        save_total_limit=2,
        logging_steps=logging_steps,
        logging_nan_inf_filter=False,  # the filter shows a loss that is not a number as 0
        disable_tqdm=processes.rank() > 0 or not sys.stderr.isatty(),
        dataloader_pin_memory=device.type == "cuda",
        report_to=[],
        remove_unused_columns=False,
    )
    arguments.mixed_precision = precision  # whatever the launcher's environment says
    arguments._n_gpu = min(arguments.n_gpu, 1)  # a process uses one GPU: several would multiply the batch
    return arguments


def _shared_batch(settings: Finetuning) -> tuple[int, int]:
    """Windows of a forward pass and passes of a step for each process, so that a step has the same windows in all.

    InputError if the processes cannot have equal shares.
    """
    size, passes, count = settings.train_batch_size, settings.gradient_accumulation_steps, processes.count()
    if passes % count == 0:  # then a pass is the same for any number of processes
        return size, passes // count
    if size % count == 0:
        return size // count, passes
    what = f"train_batch_size {size} and gradient_accumulation_steps {passes}"
    raise InputError(f"{what} cannot be shared out to {count} processes")

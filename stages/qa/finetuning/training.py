"""Fine-tune an encoder with a span head: run_squad's job, on the transformers Trainer."""

import json
import logging
import math
import shutil
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from stages.qa import processes
from stages.qa.config import Finetuning
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.errors import InputError, NumericsError
from stages.qa.files import disk_faults
from stages.qa.finetuning.resuming import fingerprint, last_checkpoint
from stages.qa.models.checkpoints import check_length, load_config, load_model, load_tokenizer, uses_token_types
from stages.qa.models.manifest import verify_snapshot, write_manifest
from stages.qa.models.precision import mixed_precision
from stages.qa.publishing import sole_writer, whole_folder

logger = logging.getLogger(__name__)
DROPOUTS = (  # what the families of encoders call theirs
    *("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "dropout"),
    *("qa_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"),
)
LOG_POINTS = 100  # of the loss curve of a training


class _Features(Dataset[dict[str, Tensor]]):
    """Windows, each of its own length, and how they become a batch."""

    def __init__(self, windows: Windows, *, token_types: bool, padding: int) -> None:
        self.windows, self.token_types, self.padding = windows, token_types, padding

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        tokens = slice(self.windows.starts[row], self.windows.starts[row + 1])
        targets = torch.tensor(self.windows.targets[row])
        first, last = torch.where(targets == IGNORED, 10**6, targets)  # past any window's end: the loss ignores it
        ids = torch.tensor(self.windows.input_ids[tokens], dtype=torch.int64)
        feature = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        feature |= {"start_positions": first, "end_positions": last}
        if self.token_types:
            feature["token_type_ids"] = torch.tensor(self.windows.token_type_ids[tokens], dtype=torch.int64)
        return feature

    def collate(self, features: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A padded batch; the tokenizer's own collator goes through lists, which takes ten times as long."""
        batch = {}
        for name, first in features[0].items():
            values = [feature[name] for feature in features]
            filler = self.padding if name == "input_ids" else 0
            batch[name] = pad_sequence(values, True, filler) if first.ndim else torch.stack(values)
        return batch


class _Order(Sampler[int]):
    """Windows of like length side by side, in an order that depends on the seed and the epoch alone.

    The last step of an epoch is filled up with windows from its start: for several processes Accelerate would do so,
    which then would take other steps than one. The Trainer's own group_by_length draws from torch's global generator,
    so a resumed epoch would have another order.
    """

    def __init__(self, windows: Windows, *, group: int, seed: int) -> None:
        self.lengths, self.group, self.seed, self.epoch = windows.lengths.tolist(), group, seed, 0

    def set_epoch(self, epoch: int) -> None:  # called by the Trainer
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.group) * self.group

    def __iter__(self) -> Iterator[int]:
        seed = int(np.random.default_rng([self.seed, self.epoch]).integers(2**32))
        generator = torch.Generator().manual_seed(seed)
        order = get_length_grouped_indices(self.lengths, self.group, generator=generator)
        return islice(cycle(order), len(self))


class _Trainer(Trainer):
    """The Trainer with our order of the windows."""

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        data, arguments = cast(_Features, self.train_dataset), self.args
        group = arguments.train_batch_size * arguments.gradient_accumulation_steps * processes.count()
        loader: DataLoader[dict[str, Tensor]] = DataLoader(
            data,
            batch_size=arguments.train_batch_size,
            sampler=_Order(data.windows, group=group, seed=arguments.seed),
            collate_fn=data.collate,
            pin_memory=arguments.device.type == "cuda",
        )
        return cast(DataLoader[dict[str, Tensor]], self.accelerator.prepare(loader))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with disk_faults(Path(str(self.args.output_dir))):
            super()._save_checkpoint(*args, **kwargs)


class _Watch(TrainerCallback):
    """Stops at a loss that is no number, seals checkpoints, and keeps a log readable where no bar is shown."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = f"checkpoint-{state.global_step}"
        processes.from_each(step)  # all have written theirs
        if processes.rank() == 0:
            write_manifest(Path(str(args.output_dir)) / step, source=step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
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
    """Train `base` plus a new span head on `windows`, and write model, tokenizer, loss log and manifest to `out`.

    Checkpoints go to a folder of `checkpoints` named for all that they depend on; a run that was stopped goes on from
    the last whole one. Raises NumericsError if the loss or a weight is not a finite number, InputError if a window is
    longer than the model can take.
    """
    work = checkpoints / fingerprint(verify_snapshot(base), windows, settings)
    with sole_writer(work):
        with whole_folder(out) as new:
            _train(base, windows, new, settings=settings, work=work, device=device)
        if processes.rank() == 0:
            shutil.rmtree(work, ignore_errors=True)


def _train(base: Path, windows: Windows, out: Path, *, settings: Finetuning, work: Path, device: torch.device) -> None:
    """`finetune` into an empty folder, with the checkpoints of this very training in `work`."""
    set_seed(settings.seed)  # the new head is drawn when the model is built
    config = load_config(base)
    for name in DROPOUTS:
        if settings.dropout is not None and hasattr(config, name):
            setattr(config, name, settings.dropout)
    model = load_model(base, config, head=True, fresh_head=True)
    check_length(model, int(windows.lengths.max(initial=0)), base.name)
    tokenizer = load_tokenizer(base, config)
    of_a_step = settings.train_batch_size * settings.gradient_accumulation_steps
    steps = math.ceil(len(windows) / of_a_step) * settings.num_train_epochs
    logging_steps = max(1, steps // LOG_POINTS)
    precision = mixed_precision(settings.mixed_precision, device.type)
    batch_size, accumulation = _shared_batch(settings)
    arguments = TrainingArguments(
        output_dir=str(work),
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        warmup_steps=settings.warmup,  # below 1: a share of the steps
        lr_scheduler_type="linear",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        save_steps=-(-settings.save_steps // logging_steps) * logging_steps,  # losses not yet logged are not kept
        save_total_limit=2,
        logging_steps=logging_steps,
        logging_nan_inf_filter=False,  # it would show a loss that is no number as 0
        disable_tqdm=processes.rank() > 0 or not sys.stderr.isatty(),
        report_to=[],
        remove_unused_columns=False,
    )
    arguments.mixed_precision = precision  # not what a launcher's environment says
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process uses one GPU: several would multiply the batch
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=_Features(windows, token_types=uses_token_types(config), padding=tokenizer.pad_token_id or 0),
        callbacks=[_Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.is_fsdp_enabled:
        _shard_by_layers(trainer.accelerator.state.fsdp_plugin, model)
    if processes.rank():
        torch.manual_seed(settings.seed + processes.rank())  # dropout of its own windows, not the first process's again
    last = processes.from_first(last_checkpoint(work) if processes.rank() == 0 else None)
    logger.info(
        "fine-tuning %s: %d windows, %d steps, %s precision, on %s%s",
        base.name, len(windows), steps, precision, device.type, f", from {last.name}" if last else "",
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=str(last) if last else None)  # no step if it is of the last step
    weights = trainer.accelerator.get_state_dict(trainer.model)  # of processes that share them, the first one has all
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise NumericsError(f"{base.name}: weights are not finite after training; is the learning rate too high?")
    if processes.rank():
        return
    with disk_faults(out):
        model.save_pretrained(out, state_dict=weights)
    tokenizer.save_pretrained(out)
    history = [{k: row[k] for k in ("step", "epoch", "loss")} for row in trainer.state.log_history if "loss" in row]
    (out / "loss.json").write_text(json.dumps(history, indent=1) + "\n")
    write_manifest(out, source=f"finetune:{base.name}")


def _shard_by_layers(plugin: FullyShardedDataParallelPlugin, model: PreTrainedModel) -> None:
    """Weights of one layer at a time are put together; transformers' own list has embeddings inside embeddings."""
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layers in lists for layer in layers})


def _shared_batch(settings: Finetuning) -> tuple[int, int]:
    """Windows of a forward pass and passes of a step for each process, so that a step has the same windows in all.

    InputError if they cannot be shared out evenly.
    """
    size, passes, shares = settings.train_batch_size, settings.gradient_accumulation_steps, processes.count()
    if passes % shares == 0:  # the passes stay the same, whatever the number of processes
        return size, passes // shares
    if size % shares == 0:
        return size // shares, passes
    raise InputError(
        f"train_batch_size {size} and gradient_accumulation_steps {passes} cannot be shared out to {shares} processes"
    )

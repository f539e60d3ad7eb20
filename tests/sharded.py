"""stages.finetune with weights that processes on a CPU share, which Accelerate by itself allows on GPUs only.

With the environment variable STOP they end, with exit code 9, when the first checkpoint is whole.
"""

import os
from typing import Any

from accelerate.state import AcceleratorState, DistributedType, PartialState
from torch.distributed.fsdp import FSDPModule

from stages import finetune
from stages.qa import processes
from stages.qa.cli import run
from stages.qa.finetuning import training as finetuning

plain, sealed = AcceleratorState.__init__, finetuning._Watch.on_save


def sharing(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **named: Any) -> None:
    """As the original does on GPUs after --use_fsdp."""
    plain(self, *args, fsdp_plugin=fsdp_plugin, **named)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def stopping(*args: Any, model: Any, **named: Any) -> None:
    sealed(*args, model=model, **named)
    processes.from_each(None)
    assert all(isinstance(layer, FSDPModule) for layer in model.bert.encoder.layer)
    raise SystemExit(9)


if __name__ == "__main__":
    AcceleratorState.__init__ = sharing  # type: ignore[method-assign]
    if "STOP" in os.environ:
        finetuning._Watch.on_save = stopping  # type: ignore[method-assign]
    run(finetune.main)

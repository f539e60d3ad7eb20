"""An encoder that does not fit one device: its layers lie on GPUs, in memory or on disk until they are computed."""

import atexit
import os
import re
import shutil
import tempfile
from typing import Any

import torch
from accelerate.utils import get_max_memory
from transformers import PretrainedConfig

from stages.qa import processes
from stages.qa.errors import InputError


def placement(device: torch.device, config: PretrainedConfig) -> dict[str, Any]:
    """Arguments of from_pretrained that spread an encoder if the environment variable DEVICE_MAP says so; else none.

    DEVICE_MAP=auto takes what is free: GPUs, then memory, then disk. DEVICE_MAP="0=30GiB cpu=200GiB" takes at most so
    much of each for weights, and the disk for the rest. InputError if it makes no sense, or not for this encoder.
    """
    words = os.environ.get("DEVICE_MAP", "").split()
    if not words:
        return {}
    if processes.count() > 1:
        raise InputError("DEVICE_MAP: one process takes all devices, and these are several; run it without LAUNCHER")
    if "deberta" in config.model_type:  # reads weights of a module without calling it, which is when they would come
        raise InputError(f"DEVICE_MAP: an encoder of type {config.model_type} cannot be spread over devices")
    folder = tempfile.mkdtemp(prefix="offload-")  # for weights that are not in safetensors files already
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"device_map": "auto", "max_memory": _memory(words, device), "offload_folder": folder}


def _memory(words: list[str], device: torch.device) -> dict[int | str, int | str]:
    """What weights may take of each GPU, by number, and of memory (cpu); of no GPU if `device` is a CPU."""
    gpus = range(torch.cuda.device_count() if device.type == "cuda" else 0)
    if words == ["auto"]:
        return {place: size for place, size in get_max_memory().items() if place == "cpu" or place in gpus}
    memory: dict[int | str, int | str] = {}
    for word in words:
        match = re.fullmatch(r"(cpu|\d+)=(\d+[KMG]iB)", word)
        if not match:
            raise InputError(f'DEVICE_MAP={" ".join(words)}: must be auto, or like "0=30GiB cpu=200GiB"')
        if match[1] != "cpu" and int(match[1]) not in gpus:
            raise InputError(f"DEVICE_MAP={word}: there is no GPU {match[1]} to use")
        memory[match[1] if match[1] == "cpu" else int(match[1])] = match[2]
    return memory

"""What a test does to a stage's process before it starts: faults at the n-th write, full disks, other addresses."""

import contextlib
import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.copyfile")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def list_writes(root: str, report: str) -> None:
    """Every change below `root`, one a line, to the file `report`."""
    _watch(root, report, lambda write, count: False, _go_on)


def kill_at(write: str, root: str, report: str) -> None:
    """SIGKILL before a change below `root`, told as `list_writes` tells it."""
    _watch(root, report, lambda this, count: this == write, _die)


def kill_at_write(number: int, root: str, report: str) -> None:
    """SIGKILL before the n-th change below `root`."""
    _watch(root, report, lambda this, count: count == number, _die)


def fail_at_write(number: int, root: str, report: str) -> None:
    """From the n-th change below `root` on, whatever takes room finds the disk full."""
    takes_room = ("open", "os.mkdir", "half")
    _watch(root, report, lambda this, count: count >= number and this.startswith(takes_room), _full)


def _go_on(path: str) -> None:
    pass


def _die(path: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _full(path: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _watch(root: str, report: str, when: Callable[[str, int], bool], act: Callable[[str], None]) -> None:
    """Call `act` at those openings for writing, renames, removals and new folders below `root` that `when` picks.

    Python tells an audit hook of each; torch and safetensors write in C++ and Rust, so they are wrapped: "half" is
    when their file is half written.
    """
    count = 0

    def reached(event: str, path: str) -> bool:
        nonlocal count
        if not str(Path(path).absolute()).startswith(root) or path == report:
            return False
        count += 1
        write = f"{event} {os.path.relpath(path, root)}"
        descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{write}\n".encode())
        os.close(descriptor)
        return when(write, count)

    busy = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or not (event in WRITES or event == "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not isinstance(arguments[0], str | os.PathLike):
            return
        busy = True
        try:
            if reached(event, os.fspath(arguments[0])):
                act(os.fspath(arguments[0]))
        finally:
            busy = False

    sys.addaudithook(audit)
    import safetensors.torch
    import torch
    import transformers.modeling_utils

    def halving(write: Callable[..., Any], place: int) -> Callable[..., Any]:
        def half(*arguments: Any, **named: Any) -> Any:
            nonlocal busy
            result = write(*arguments, **named)
            path = arguments[place] if len(arguments) > place else named.get("filename", named.get("f"))
            busy = True
            try:
                if isinstance(path, str | os.PathLike) and reached("half", os.fspath(path)):
                    os.truncate(path, Path(path).stat().st_size // 2)
                    try:
                        act(os.fspath(path))
                    except OSError as error:  # torch's own words for it
                        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed") from error
            finally:
                busy = False
            return result

        return half

    torch.save = halving(torch.save, 1)
    safetensors.torch.save_file = halving(safetensors.torch.save_file, 1)
    transformers.modeling_utils.safe_save_file = halving(transformers.modeling_utils.safe_save_file, 1)


def file_size_limit(size: int) -> None:
    """No file may grow beyond `size` bytes: writing fails half-way, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill(folder: str) -> None:
    """Leave no room in the file system of `folder`."""
    with contextlib.suppress(OSError), Path(folder, "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def small_pieces() -> None:
    """So few hidden states in memory at once that each of two processes has some pieces to read."""
    from stages.qa.answering import answering

    answering.CHUNK_GIB["cpu"] = 1e-3


def slow_steps(seconds: float) -> None:
    """Every training step of the Trainer takes longer, so that there is time to stop it."""
    from transformers import Trainer

    plain = Trainer.training_step

    def step(self: Trainer, *arguments: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return plain(self, *arguments, **named)

    Trainer.training_step = step


def count_steps(report: str) -> None:
    """Append a dot to `report` at every training step of the Trainer."""
    from transformers import Trainer

    plain = Trainer.training_step

    def step(self: Trainer, *arguments: Any, **named: Any) -> Any:
        with Path(report).open("a") as file:
            file.write(".")
        return plain(self, *arguments, **named)

    Trainer.training_step = step


def hub(url: str, home: str, environment: dict[str, str]) -> None:
    """The hub client talks to `url` and keeps its caches in `home`; its pauses between attempts are left out."""
    import pytest

    from tests.hub_lookalike import use_endpoint

    use_endpoint(pytest.MonkeyPatch(), url, Path(home))
    os.environ.update(environment)
    plain = time.sleep
    time.sleep = lambda seconds: plain(min(seconds, 0.01))


def debug_log() -> None:
    """Everything that any library has to say, on stderr."""
    import logging

    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    logging.getLogger().setLevel(logging.DEBUG)

"""What every command line of the project shares: typed arguments, plain log lines, one-line errors, whole outputs."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from stages.qa import processes
from stages.qa.errors import UserError
from stages.qa.publishing import whole_files, whole_folder


class _Stopped(BaseException):
    """A signal that asks the process to end: work in progress is undone on the way out."""


def run(*commands: Callable[..., Any], out: str | None = None, files: str | None = None) -> None:
    """Run one typed function as a command (several: as subcommands).

    A UserError becomes one line and its exit code; a full disk or memory 4; SIGINT 130, SIGTERM 143.

    `out` names the parameter that is the folder a command fills ("a/b": the folder named by parameter b in that of a).
    The command gets a new folder in its place, which is published as a whole if the command succeeds. `files` names, in
    the same way, what stands for the files of a command that writes into shared folders: all are published, or none.
    """
    told = logging.WARNING if processes.rank() else logging.INFO  # one of several processes tells what all do
    logging.basicConfig(level=told, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "transformers", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if "transformers" in sys.modules:  # its load reports are checked by checkpoints.py, its bars would clutter logs
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for command in commands:
        app.command()(_publishing(command, out, files))
    try:
        with _signals_stop_it():
            app()
    except UserError as error:
        _fail(error, error.exit_code)
    except OSError as error:  # a full or read-only disk, a folder in the place of a file
        _fail(error, 4)
    except MemoryError:
        _fail("out of memory", 4)
    except _Stopped as stopped:
        number = signal.Signals(stopped.args[0])
        _fail(f"stopped by {number.name}; run it again to go on", 128 + number)


def _fail(told: object, code: int) -> None:
    """End the process with one line; what a terminal would take for a command is shown as an escape sequence."""
    line = " ".join(str(told).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


def _publishing(command: Callable[..., Any], out: str | None, files: str | None) -> Callable[..., Any]:
    """`command`, whose outputs are published together when it has succeeded."""
    parent, *names = (out or files or "").split("/")

    @wraps(command)
    def publishing(**given: Any) -> Any:
        if not parent:
            return command(**given)
        target = Path(given[parent], ".".join(given[name] for name in names))
        if files:
            with whole_files(target.with_name(f"{Path(sys.argv[0]).stem}.{target.name}")):
                return command(**given)
        with whole_folder(target) as new:
            return command(**{**given, parent: new.parent if names else new})

    return publishing


@contextlib.contextmanager
def _signals_stop_it() -> Iterator[None]:
    """SIGINT and SIGTERM end the block by an exception; a second one kills at once."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

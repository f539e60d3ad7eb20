"""What all commands of the project share: typed arguments, plain log lines, and one line for a fault."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from stages.qa.errors import UserError
from stages.qa.processes import rank


class _Stopped(BaseException):
    """A signal asks the process to end. Blocks that are left on the way remove their temporary files."""


def run(*commands: Callable[..., Any]) -> None:
    """Run one typed function as a command, or several as subcommands.

    A UserError ends it with one line and the error's exit code, a fault of the disk or of memory with 4, SIGINT with
    130, SIGTERM with 143.
    """
    _set_up_logs()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for command in commands:
        app.command()(command)
    try:
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, _stop)
        app()
    except UserError as error:
        _fail(error, error.exit_code)
    except OSError as error:  # a full or read-only disk, a folder in the place of a file
        _fail(error, 4)
    except MemoryError:
        _fail("out of memory", 4)
    except _Stopped as stopped:
        caught = signal.Signals(stopped.args[0])
        _fail(f"stopped by {caught.name}; run it again to go on", 128 + caught)


def _set_up_logs() -> None:
    """Log lines without decoration, to stderr; of several processes only the first one logs what all of them do."""
    level = logging.WARNING if rank() else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "httpx2", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else tokenizers warn about it
    if "transformers" in sys.modules:  # checkpoints.py checks its load reports; its bars would clutter a log
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()


def _fail(message: object, code: int) -> None:
    """End the process with one line in which a terminal finds no commands."""
    line = " ".join(str(message).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


def _stop(number: int, frame: object) -> None:
    """Raise an exception for a signal; a second one ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise _Stopped(number)

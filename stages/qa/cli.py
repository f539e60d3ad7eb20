"""What every command line of the project shares: typed arguments, plain log lines, one-line errors."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from stages.qa.errors import UserError


def run(*commands: Callable[..., Any]) -> None:
    """Run one typed function as a command (several: as subcommands); a UserError becomes one line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "transformers", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if "transformers" in sys.modules:  # its load reports are checked by checkpoints.py, its bars would clutter logs
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for command in commands:
        app.command()(command)
    try:
        app()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full or read-only disk, a folder in the place of a file
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(4)

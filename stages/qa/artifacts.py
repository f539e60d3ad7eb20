"""JSON and tensors in and out. Every write is atomic, and its bytes depend on the value alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from stages.qa.errors import IntegrityError


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`; it takes the place of `path` only if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with unix line ends."""
    with published(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write ASCII JSON; not-a-number and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; IntegrityError names the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path}: cannot be read as JSON ({error}); run the stage that writes it again") from error


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as safetensors."""
    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    with published(path) as partial:
        partial.write_bytes(data)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file; IntegrityError names the file if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: not a safetensors file ({error}); run the stage that writes it again") from error

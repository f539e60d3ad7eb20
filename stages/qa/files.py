"""JSON, tables and tensors in and out. A file appears whole or not at all; the same content gives the same bytes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from stages.qa.errors import InputError, IntegrityError, ResourceError, one_line
from stages.qa.processes import rank

T = TypeVar("T")
TEXT = ["model", "less", "other", "run", "protocol", "reading", "metric", "unit", "comparison", "breakdown", "group"]
TYPES = dict.fromkeys([*TEXT, "control"], "str") | dict.fromkeys(["final", "headline"], "bool")  # of tables' columns
AGAIN = "run the stage that writes it again"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move the file there to `path` if the block ends without an error.

    If several processes run one stage, all of them write, and the file of the first stays: their results are the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number = rank()
    temporary = path.with_name(f".{path.name}.partial{number or ''}")
    try:
        yield temporary
        if number == 0:
            temporary.replace(path)
    except OSError as error:  # that of a failed write names no file
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Raise ResourceError in place of what torch and safetensors raise when they cannot write to `folder`."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise ResourceError(f"{folder}: cannot be written ({one_line(error)}); is the disk full?") from error


def refuses_damage(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """`read`, a reader of a stage's folder, with IntegrityError for content that no stage writes."""

    @wraps(read)
    def reader(folder: Path) -> T:
        try:
            return read(folder)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{folder}: damaged ({type(error).__name__}: {error}); {AGAIN}") from error

    return reader


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with unix line ends."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write ASCII JSON. ValueError for not-a-number and infinity."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. IntegrityError names the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path}: cannot be read as JSON ({error}); {AGAIN}") from error


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV table without its index: floats with all their digits, missing values as empty fields."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read what `write_table` wrote: columns of TYPES as text or bool, all others as numbers.

    Only an empty field is missing. InputError names the file if it is missing or malformed, or has not all `columns`.
    """
    try:
        frame = pd.read_csv(path, dtype=TYPES, keep_default_na=False, na_values=[""], float_precision="round_trip")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({one_line(error)}); {AGAIN}") from error
    if missing := [column for column in columns if column not in frame]:
        raise InputError(f"{path}: has no column {', '.join(missing)}; {AGAIN}")
    for column in frame.columns.difference(TYPES):
        if frame.empty:
            frame[column] = frame[column].astype("float64")  # pandas cannot tell the type of no values
        elif is_bool_dtype(frame[column]) or not is_numeric_dtype(frame[column]):
            raise InputError(f"{path}: column {column} holds what is not a number; {AGAIN}")
    return frame


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with replaced(path) as temporary:
        temporary.write_bytes(save(contiguous))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file. IntegrityError names the file if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: not a safetensors file ({error}); {AGAIN}") from error

"""JSON and tensors in and out. Every write is atomic, and its bytes depend on the value alone."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from stages.qa.errors import IntegrityError, ResourceError

T = TypeVar("T")
TYPES = {"BOOL": "?", "U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}  # of safetensors, in NumPy
_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("waiting", default=None)  # partial file -> its place
_new_folder: ContextVar[Path | None] = ContextVar("new_folder", default=None)  # in which nothing waits


@contextmanager
def named(path: Path) -> Iterator[None]:
    """`path` in an OSError that names no file, as that of a failed write does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`; it takes the place of `path` only if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    waiting, folder = _waiting.get(), _new_folder.get()
    if folder and folder in path.parents:
        waiting = None
    try:
        with named(path):
            yield partial
        if waiting is None:
            partial.replace(path)
        else:
            waiting[partial] = path
    finally:
        if waiting is None or partial not in waiting:
            partial.unlink(missing_ok=True)


@contextmanager
def held_back(*, new_folder: Path | None = None) -> Iterator[None]:
    """Files that are `published` in the block take their places at its end, together, or none of them does.

    Those in `new_folder`, which nobody else reads yet, do so at once: later steps of the block read and change them.
    """
    waiting: dict[Path, Path] = {}
    token, folder_token = _waiting.set(waiting), _new_folder.set(new_folder)
    try:
        yield
        for partial, path in waiting.items():
            partial.replace(path)
    finally:
        _waiting.reset(token)
        _new_folder.reset(folder_token)
        for partial in waiting:
            partial.unlink(missing_ok=True)


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """ResourceError in place of what torch and safetensors raise when they cannot write to `folder`."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise ResourceError(f"{folder}: cannot be written ({told}); is the disk full?") from error


def refuses_damage(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """`read`, a reader of a folder that a stage wrote, with IntegrityError for content that no stage writes."""

    @wraps(read)
    def reader(folder: Path) -> T:
        try:
            return read(folder)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise IntegrityError(f"{folder}: damaged ({told}); run the stage that writes it again") from error

    return reader


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with unix line ends."""
    with published(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write ASCII JSON; not-a-number and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_long_json(path: Path, root: Mapping[str, object], key: str, items: Iterable[object]) -> None:
    """What `write_json` writes of `root` with a list of `items` at its `key`, which take their turns in memory."""
    with published(path) as partial, partial.open("w", encoding="ascii", newline="\n") as file:
        file.write("{")
        for number, (name, value) in enumerate(root.items()):
            file.write(f"{',' if number else ''}\n {json.dumps(name)}: ")
            if name != key:
                file.write(_indented(value, 1))
                continue
            written = 0
            for written, item in enumerate(items, start=1):
                file.write(f"{',' if written > 1 else '['}\n  {_indented(item, 2)}")
            file.write("\n ]" if written else "[]")
        file.write("\n}\n")


def _indented(value: object, by: int) -> str:
    return json.dumps(value, indent=1, allow_nan=False).replace("\n", "\n" + " " * by)


def read_json(path: Path) -> Any:
    """Read JSON; IntegrityError names the file if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path}: cannot be read as JSON ({error}); run the stage that writes it again") from error


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as safetensors, without a copy of them in memory."""
    with published(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        with disk_faults(path):
            save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, partial)
        partial.chmod(mode)  # safetensors lets nobody else read its file


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file; IntegrityError names the file if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: not a safetensors file ({error}); run the stage that writes it again") from error


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """What `read_tensors` reads, as read-only arrays that stay in the file until they are looked at."""
    try:
        with safe_open(path, "np"):  # checks that the header fits the file
            data = np.memmap(path, np.uint8, "r")
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path}: not a safetensors file ({error}); run the stage that writes it again") from error
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:begin].tobytes())
    header.pop("__metadata__", None)
    return {
        name: np.asarray(data[begin:][slice(*entry["data_offsets"])])
        .view(TYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
    }

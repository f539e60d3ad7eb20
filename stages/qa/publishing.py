"""One writer of an output folder, which appears whole or not at all: what stands between a stage and its results."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from stages.qa import processes
from stages.qa.errors import BusyError, UserError
from stages.qa.files import held_back, named


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """The lock of `path`, held by this process and let go by its death; BusyError names the process that has it.

    Of the several processes of a stage, the first one holds it for all.
    """
    if processes.rank():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        owner = place.read_text().strip() or "just started"
        raise BusyError(
            f"{path}: is being written by process {owner}; wait for it, or stop it (kill {owner})"
        ) from None
    try:
        with named(place):
            place.write_text(str(os.getpid()))
        yield
    finally:
        place.unlink(missing_ok=True)  # safe while it is held: filelock passes over a file that lost its name
        lock.release()


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder to fill; it takes the place of `out` if the block ends without an error, else `out` stays as it was.

    Files outside it that `artifacts.published` writes in the block wait for its end as well. What a killed process
    left is put right first. BusyError if another process is at it, OSError if `out` cannot be a folder. Of the several
    processes of a stage, the first one publishes; what the others write is thrown away.
    """
    if processes.rank():
        with tempfile.TemporaryDirectory() as folder:
            new = Path(folder, out.name)
            new.mkdir()
            yield new
        return
    out = out.resolve() if out.is_symlink() else out
    staging, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    with sole_writer(out):
        _restore(out, old)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(20, "is a file, not a folder to write to", str(out))
        _remove(staging)
        new = staging / out.name
        try:
            new.mkdir(parents=True)
            with held_back(new_folder=new):
                yield new
            for path in new.rglob("*"):  # safetensors makes files that nobody else may read
                path.chmod(path.stat().st_mode | new.stat().st_mode & 0o444)
            if out.exists():
                out.replace(old)
            new.replace(out)
        except UserError as error:  # told with the name that the user knows
            raise type(error)(str(error).replace(str(new), str(out))) from error
        except OSError as error:
            error.filename = str(error.filename or out).replace(str(new), str(out))
            raise
        finally:
            _restore(out, old)
            _remove(staging)


@contextlib.contextmanager
def whole_files(name: Path) -> Iterator[None]:
    """Files that `artifacts.published` writes in the block appear together at its end, or none does.

    `name` stands for all of them: BusyError if another process is at it.
    """
    with sole_writer(name), held_back():
        yield


def _restore(out: Path, old: Path) -> None:
    """Back to the old folder if the new one did not take its place."""
    if old.exists() and not out.exists():
        old.replace(out)
    _remove(old)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

"""Arrays that grow with the data: large ones lie in unnamed files, whose memory the kernel may take back."""

import os
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np

from stages.qa.files import named

SMALL = 2**22  # bytes of an array that stays in memory


def filled(shape: tuple[int, ...], value: float, dtype: Any) -> np.ndarray:
    """np.full; a large array in a file where temporary files are kept (OSError if there is no room)."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= SMALL:
        return np.full(shape, value, dtype)
    with named(Path(gettempdir())), TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, size)
        array = np.asarray(np.memmap(file, dtype, "r+", shape=shape))
    array.fill(value)
    return array

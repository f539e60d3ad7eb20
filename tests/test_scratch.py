"""Arrays that are large lie in files that nobody sees."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from stages.qa import scratch
from stages.qa.scratch import filled


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, np.float32), (-1, np.int32), (0, np.int64), (0, np.bool_)])
def test_a_large_array_is_a_file(value: float, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "SMALL", 100)
    small, large = filled((5, 2), value, dtype), filled((101, 3), value, dtype)
    np.testing.assert_array_equal(large, np.full((101, 3), value, dtype))
    assert large.dtype == small.dtype == dtype
    assert in_a_file(large, tmp_path)
    assert not in_a_file(small, tmp_path)
    assert not list(tmp_path.iterdir())
    large[50] = 1
    assert large.sum(where=large == 1) == 3


def in_a_file(array: np.ndarray, folder: Path) -> bool:
    """Whether the array's memory is mapped from a file of `folder`."""
    address = array.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return str(folder) in line
    return False


def test_no_room_is_an_error_that_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OSError, match=r"space|large") as caught:
        filled((2**20, 2**30), 0, np.float64)
    assert caught.value.filename == str(tmp_path)
    assert not list(tmp_path.iterdir())

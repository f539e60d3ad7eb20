"""Files appear whole or not at all, and their bytes depend on the value alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from stages.qa.errors import IntegrityError
from stages.qa.files import map_tensors, published, read_json, read_tensors, write_json, write_tensors, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    for bad in (float("nan"), float("inf"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"a": bad})
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def _interrupted(path: Path) -> None:
    with published(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt


def test_round_trips(tmp_path: Path) -> None:
    text = 'é\u202e\U0001f600\n"</script>\r\n'
    write_json(tmp_path / "a.json", {"text": text})
    assert read_json(tmp_path / "a.json") == {"text": text}
    assert (tmp_path / "a.json").read_bytes().isascii()
    write_text(tmp_path / "a.txt", "a\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"a\nb\n"
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.array([1, 2])}
    write_tensors(tmp_path / "one.safetensors", arrays)
    write_tensors(tmp_path / "two.safetensors", dict(reversed(arrays.items())))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    for name, array in read_tensors(tmp_path / "one.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_arrays_that_stay_in_their_file(dtype: str, tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "none": np.zeros((3, 0), dtype), "b": np.ones(1, "u1")}
    write_tensors(tmp_path / "a.safetensors", arrays)
    found = map_tensors(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        assert array.dtype == arrays[name].dtype
        assert array.shape == arrays[name].shape
        np.testing.assert_array_equal(array, arrays[name])
        assert not array.flags.writeable
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    """The process's own."""
    os.umask(mask := os.umask(0))
    return mask


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\x01")
    for read in (read_json, read_tensors, map_tensors):
        for name in ("a", "missing"):
            with pytest.raises(IntegrityError, match=f"{tmp_path / name}: .*run the stage that writes it again"):
                read(tmp_path / name)

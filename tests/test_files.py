"""Files appear whole or not at all, and their bytes depend on the value alone."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.qa.errors import InputError, IntegrityError
from stages.qa.files import (
    read_json,
    read_table,
    read_tensors,
    replaced,
    write_json,
    write_table,
    write_tensors,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    for bad in (float("nan"), float("inf"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"a": bad})
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def interrupted_write(path: Path) -> None:
    with replaced(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_the_first_of_several_processes_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, 0)
    monkeypatch.setenv("RANK", "1")
    write_json(path, 1)
    assert read_json(path) == 0
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        write_json(tmp_path / "file/below", {})
    with pytest.raises(OSError, match=str(tmp_path / "a")), replaced(tmp_path / "a"):
        raise OSError(28, "No space left on device")


def test_text_and_json(tmp_path: Path) -> None:
    text = 'é\u202e\U0001f600\n"</script>\r\n'
    write_json(tmp_path / "a.json", {"text": text})
    assert read_json(tmp_path / "a.json") == {"text": text}
    assert (tmp_path / "a.json").read_bytes().isascii()
    write_text(tmp_path / "a.txt", "a\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_tensors(dtype: str, tmp_path: Path) -> None:
    arrays = {"b": np.arange(6).reshape(2, 3).astype(dtype).T, "none": np.zeros((3, 0), dtype), "a": np.array([1, 2])}
    write_tensors(tmp_path / "one.safetensors", arrays)
    write_tensors(tmp_path / "two.safetensors", dict(reversed(arrays.items())))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    tensors = read_tensors(tmp_path / "one.safetensors")
    assert tensors.keys() == arrays.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert (tmp_path / "one.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    """The umask of this process."""
    os.umask(mask := os.umask(0))
    return mask


def test_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "model": ["NA", "null", "007"],  # text, whatever it looks like
            "headline": [True, False, True],
            "layer": [0, 1, 2],
            "epoch": [1, None, 3],
            "f1": [0.1 + 0.2, 1e-300, np.nan],
            "group": ['a,"b"\n', None, "1"],
        }
    )
    path = tmp_path / "a.csv"
    write_table(path, frame)
    assert path.read_text().splitlines()[1] == 'NA,True,0,1.0,0.30000000000000004,"a,""b""'
    table = read_table(path, ["model", "f1"])
    pd.testing.assert_frame_equal(table, frame.astype({"model": "str", "group": "str"}), check_exact=True)
    write_table(tmp_path / "b.csv", table)
    assert (tmp_path / "b.csv").read_bytes() == path.read_bytes()


def test_a_table_without_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", pd.DataFrame(columns=["model", "final", "layer"]))
    table = read_table(tmp_path / "a.csv", ["model", "layer"])
    assert table.dtypes.astype(str).to_dict() == {"model": "str", "final": "bool", "layer": "float64"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as a table .*No such file"),
        (b"", "cannot be read as a table"),
        (b"model,layer\na,1\nb,2,3\n", "cannot be read as a table"),
        (b"model,layer\n\xff,1\n", "cannot be read as a table"),
        (b"model,layer,final\na,1,maybe\n", "cannot be read as a table"),
        (b"model,f1\na,1\n", "has no column layer"),
        (b"model,layer\na,one\n", "column layer holds what is not a number"),
        (b"model,layer\na,True\n", "column layer holds what is not a number"),
    ],
)
def test_a_malformed_table_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.csv: {message}.*; run the stage that writes it again"):
        read_table(path, ["model", "layer"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00\x01")
    for read in (read_json, read_tensors):
        for name in ("a", "missing"):
            with pytest.raises(IntegrityError, match=f"{tmp_path / name}: .*run the stage that writes it again"):
                read(tmp_path / name)

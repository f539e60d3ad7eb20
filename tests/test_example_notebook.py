"""The example notebook runs, on a tiny checkpoint; what it stores is a table and a picture."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.conftest import TinyModel

NOTEBOOK = Path(__file__).parents[1] / "examples/layer_curve.ipynb"
MODEL = 'ROOT / "data/models/minilm"'


def execute(old: str, new: str) -> nbformat.NotebookNode:
    """The notebook, executed in its folder with `new` in the place of `old`; CellExecutionError if a cell fails."""
    text = nbformat.reads(NOTEBOOK.read_text(), as_version=4)
    cells = [cell for cell in text.cells if old in cell.source]
    assert len(cells) == 1
    cells[0].source = cells[0].source.replace(old, new)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(text, timeout=300, resources=folder).execute()


def kinds(notebook: nbformat.NotebookNode) -> set[str]:
    """The kinds of data that the cells put out."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return {kind for output in outputs if "data" in output for kind in output.data}


def test_every_cell_runs(tiny_model: TinyModel) -> None:
    done = execute(MODEL, repr(str(tiny_model("bert"))))
    assert kinds(done) == {"text/plain", "text/html", "image/png"}


def test_a_cell_that_fails_is_seen() -> None:
    with pytest.raises(CellExecutionError, match="no_such_name"):
        execute("import sys\n", "no_such_name\n")


def test_what_is_stored() -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(stored)
    assert kinds(stored) == {"text/plain", "text/html", "image/png"}
    outputs = [output for cell in stored.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]

"""A repository, and the hub that serves it."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.qa.data.squad import Example
from tests import hub_lookalike
from tests.hub_lookalike import REVISION, Hub

HUB_SOURCE = f"hub:org/tiny@{REVISION}"
NEEDED = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
WEIGHTS = hashlib.sha512(b"weights").digest() * 1000  # any bytes: nothing here loads them
WEIGHTS_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with what an encoder needs, and what it does not."""
    folder = tmp_path / "origin"
    for name in ("onnx/config.json", "README.md", "modeling_evil.py", "pytorch_model.bin", "tf_model.h5"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"not needed: {name}")
    for name in NEEDED:
        (folder / name).write_text(json.dumps({"file": name}))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def hub(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the repository org/tiny and the data set org/questions, and the files of `web` under /files/files."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # pauses between attempts
    repos = {"org/tiny": repo, "datasets/org/questions": tmp_path / "questions", "files": tmp_path / "web"}
    with hub_lookalike.serve(repos) as running:
        running.use(monkeypatch, tmp_path / "home")
        yield running


def as_row(example: Example) -> dict[str, Any]:
    """A question in the hub's layout."""
    texts, starts = [a.text for a in example.answers], [a.start for a in example.answers]
    columns = {"id": example.id, "title": example.title, "context": example.context, "question": example.question}
    return {**columns, "answers": {"text": texts, "answer_start": starts}}


def write_parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path

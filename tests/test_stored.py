"""Outputs against what dvc.lock says of them."""

import hashlib
from pathlib import Path

import pytest

from stages.qa.errors import IntegrityError
from stages.qa.stored import check_outputs


def test_two_stages_with_one_output(tmp_path: Path) -> None:
    """DVC keeps the entry of a stage that is gone: a model that was under `heads` before, say."""
    sums = {text: hashlib.md5(text.encode()).hexdigest() for text in ("new", "old", "other")}
    entry = "  {stage}:\n    cmd: x\n    outs:\n    - path: a.csv\n      md5: {md5}\n"
    entries = [entry.format(stage=stage, md5=sums[text]) for stage, text in (("predict", "new"), ("head", "old"))]
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + "".join(entries))
    assert check_outputs(tmp_path / "dvc.lock") == (0, 1)
    for text in ("new", "old"):
        (tmp_path / "a.csv").write_text(text)
        assert check_outputs(tmp_path / "dvc.lock") == (1, 0)
    (tmp_path / "a.csv").write_text("other")
    with pytest.raises(IntegrityError, match=r"a\.csv"):
        check_outputs(tmp_path / "dvc.lock")

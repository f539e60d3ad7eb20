"""What the README says of the two studies is what their committed tables say, whatever this machine made of them."""

import re
import subprocess
from io import StringIO
from pathlib import Path
from unittest.mock import create_autospec

import pandas as pd
import pytest

from stages.qa import notebook

ROOT = Path(__file__).parents[1]
NUMBER = r"[\d.]+"
INTERVAL = rf"{NUMBER} \({NUMBER}–{NUMBER}\)"
ROW = rf"^\| (\d+) \| ({NUMBER}) \| ({NUMBER}) \| ({INTERVAL}) \| ({NUMBER}) \| ({NUMBER}) \| ({INTERVAL}) \|$"


def committed(path: str) -> str:
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_what_it_quotes_stands_in_the_reports() -> None:
    quotes = re.findall(r"^> (.+(?:\n> .+)*)", committed("README.md"), re.MULTILINE)
    assert len(quotes) == 2
    for study, quote in zip(("minilm-squad-part", "demo"), quotes, strict=True):
        report = committed(f"plots/{study}/report.md").replace("\\", "")
        words = " ".join(quote.replace("\n> ", " ").split())
        sentences = re.split(r"(?<=[.)]) (?=[A-Z])", words)
        assert len(sentences) > 1
        for sentence in sentences:
            assert sentence in " ".join(report.split()), study


def test_the_table_on_real_squad() -> None:
    rows = re.findall(ROW, committed("README.md"), re.MULTILINE)
    expected = {layer: [str(layer)] for layer in range(7)}
    for model in "minilm-finetuned", "minilm":
        table = pd.read_csv(StringIO(committed(f"metrics/minilm-squad-part/{model}/evaluate/intervals.csv")))
        points = table[table["headline"] & (table["reading"] == "probe")].set_index(["metric", "layer"])
        for layer, row in expected.items():
            f1, has_answer, forced = (points.loc[(name, layer)] for name in ("f1", "HasAns_f1", "forced_f1"))
            row += [f"{f1['estimate']:.1f}", f"{has_answer['estimate']:.1f}"]
            row.append(f"{forced['estimate']:.1f} ({forced['low']:.1f}–{forced['high']:.1f})")
    assert [list(row) for row in rows] == list(expected.values())


def test_the_grafts_on_real_squad() -> None:
    table = pd.read_csv(StringIO(committed("metrics/minilm-squad-part/minilm-finetuned/compare/grafts.csv")))
    points = table[table["metric"] == "forced_f1"].set_index(["reading", "layer"])
    two, three = (points.loc[("graft", layer)] for layer in (2, 3))
    cells = [f"{one['estimate']:.1f} ({one['low']:.1f} to {one['high']:.1f})" for one in (two, three)]
    whole = points.loc[("graft_reverse", 6), "estimate"]  # all layers are the fine-tuned model's
    said = f"keeps {cells[0]} of its {whole:.1f} points; with layer 3 too, {cells[1].removesuffix(')')}; 400 questions)"
    assert said in " ".join(committed("README.md").split())


def test_the_python_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls the function as that may be called, and names what there is after `make repro`."""
    (block,) = re.findall(r"```python\n(.*?)```", committed("README.md"), re.DOTALL)
    curve = pd.DataFrame({"layer": [0, 1], "forced_f1": [1.0, 2.0]})
    called = create_autospec(notebook.layer_curve, return_value=curve)
    monkeypatch.setattr(notebook, "layer_curve", called)
    exec(block)
    given = called.call_args
    assert given.args[0] == "data/models/minilm"
    assert (ROOT / given.kwargs["train"]).is_file()
    assert (ROOT / given.kwargs["dev"]).is_file()

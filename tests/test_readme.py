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
ROW = rf"^\|(\d+)\|({NUMBER})\|({NUMBER})\|({INTERVAL})\|({NUMBER})\|({NUMBER})\|({INTERVAL})\|$"


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
    kept, lost = (f"{one['estimate']:.1f} ({one['low']:.1f} to {one['high']:.1f})" for one in (two, three))
    whole = points.loc[("graft_reverse", 6), "estimate"]  # all layers are the fine-tuned model's
    said = f"{two['questions']} HasAns questions): with the base up to layer 2 its head keeps {kept} of {whole:.1f} "
    said += f"points; up to layer 3, {lost}."
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


def forced_f1(table: str, reading: str = "probe") -> pd.DataFrame:
    """The headline's points of one reading, by layer."""
    rows = pd.read_csv(StringIO(committed(f"metrics/{table}.csv")))
    rows = rows[rows["headline"] & (rows["reading"] == reading) & (rows["metric"] == "forced_f1")]
    return rows.set_index("layer")


def test_the_moments_of_a_training() -> None:
    rows = re.findall(r"^\|(none|1/8|1/4|1/2|all)\|(.+)\|$", committed("README.md"), re.MULTILINE)
    models = ["minilm", "minilm-eighth", "minilm-quarter", "minilm-half", "minilm-finetuned"]
    points = [forced_f1(f"minilm-squad-moments/{model}/evaluate/intervals")["estimate"] for model in models]
    assert [cells.split("|") for _, cells in rows] == [[f"{value:.1f}" for value in curve] for curve in points]


def test_the_encoder_of_12_layers() -> None:
    tables = {
        "fine-tuned": ("mpnet-finetuned/evaluate/intervals", "probe"),
        "base": ("mpnet/evaluate/intervals", "probe"),
        "lens": ("mpnet-finetuned/evaluate/intervals", "lens"),
        "base up to it": ("mpnet-finetuned/compare/grafts", "graft"),
        "base after it": ("mpnet-finetuned/compare/grafts", "graft_reverse"),
    }
    points = {name: forced_f1(f"mpnet-squad-part/{table}", reading) for name, (table, reading) in tables.items()}
    text = committed("README.md").partition("**A 12-layer encoder**")[2]
    layers = [int(layer) for layer in re.findall(r"^\|layer\|(.+)\|$", text, re.MULTILINE)[0].split("|")]
    rows = dict(re.findall(rf"^\|({'|'.join(tables)})\|(.+)\|$", text, re.MULTILINE))
    assert rows == {
        name: "|".join(f"{curve.loc[layer, 'estimate']:.1f}" for layer in layers) for name, curve in points.items()
    }
    low, high = points["base up to it"].loc[3], points["base after it"].loc[9]
    kept, also = (f"{one['estimate']:.1f} ({one['low']:.1f} to {one['high']:.1f})" for one in (low, high))
    whole = points["base after it"].loc[12, "estimate"]
    said = (
        f"Grafts ({low['questions']} HasAns questions): with the base up to layer 3, or after layer 9, the head keeps "
    )
    assert said + f"{kept} and {also} of {whole:.1f} points." in " ".join(text.split())

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


def forced_f1(model_dir: str) -> pd.DataFrame:
    """The headline's probes, by layer."""
    table = pd.read_csv(StringIO(committed(f"metrics/{model_dir}/evaluate/intervals.csv")))
    rows = table[table["headline"] & (table["reading"] == "probe") & (table["metric"] == "forced_f1")]
    return rows.set_index("layer")


def test_the_moments_of_a_training() -> None:
    rows = re.findall(r"^\|(none|1/8|1/4|1/2|all)\|(.+)\|$", committed("README.md"), re.MULTILINE)
    models = ["minilm", "minilm-eighth", "minilm-quarter", "minilm-half", "minilm-finetuned"]
    points = [forced_f1(f"minilm-squad-moments/{model}")["estimate"] for model in models]
    assert [cells.split("|") for _, cells in rows] == [[f"{value:.1f}" for value in curve] for curve in points]


def test_the_encoder_of_12_layers() -> None:
    points = forced_f1("mpnet-squad-part/mpnet")
    first, best, last = (
        f"{point['estimate']:.1f} ({point['low']:.1f} to {point['high']:.1f})"
        for point in (points.loc[0], points.loc[points["estimate"].idxmax()], points.loc[12])
    )
    said = f"forced F1 is {first} at the embeddings, {best} at layer {points['estimate'].idxmax()}, {last} at layer 12"
    assert said in " ".join(committed("README.md").split())

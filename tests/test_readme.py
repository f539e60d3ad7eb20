"""What the README says of the demo is what the committed tables say, whatever this machine has made of them."""

import re
import subprocess
from io import StringIO
from pathlib import Path

import pandas as pd

from stages.qa.scoring.curves import best_layer

ROOT = Path(__file__).parents[1]
ROW = r"^\| (minilm[\w-]*) \| (\w+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]*) ?\|$"


def committed(path: str) -> str:
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def curve(model: str, protocol: str, reading: str) -> pd.DataFrame:
    """Layer, F1, HasAns F1 and forced F1, means over runs and seeds."""
    layers = pd.read_csv(StringIO(committed(f"metrics/demo/{model}/evaluate/layers.csv")))
    rows = layers[layers["final"] & (layers["protocol"] == protocol) & (layers["reading"] == reading)]
    return rows.groupby("layer")[["f1", "HasAns_f1", "forced_f1"]].mean().reset_index()


def test_the_demos_table() -> None:
    rows = re.findall(ROW, committed("README.md"), re.MULTILINE)
    assert len(rows) == 4
    for model, protocol, *numbers in rows:
        best = best_layer(curve(model, protocol, "probe"))
        expected = [f"{best['layer']:.0f}", *(f"{best[name]:.2f}" for name in ("f1", "HasAns_f1", "forced_f1"))]
        heads = curve(model, protocol, "head")["f1"]
        assert numbers == [*expected, f"{heads.iloc[0]:.2f}" if len(heads) else ""], (model, protocol)


def test_the_answer_is_that_of_the_report() -> None:
    report = committed("plots/demo/report.md").replace("\\", "")
    answer = report.split("\n\n")[1]
    assert answer.startswith("Fine-tuning adds")
    assert answer in " ".join(committed("README.md").split())


def test_both_forms_of_the_probe_are_those_of_the_report() -> None:
    form = r"adds ([\d.]+) points (?:of forced F1 )?to the linear probe (?:at its best layer )?and ([\d.]+) to"
    report, readme = (
        re.search(form, " ".join(committed(name).split())) for name in ("plots/demo/report.md", "README.md")
    )
    assert report
    assert readme
    assert report.groups() == readme.groups()

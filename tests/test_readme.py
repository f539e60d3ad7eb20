"""What the README says of the demo is what the committed tables say."""

import re
from pathlib import Path

import pandas as pd

from stages.qa.files import read_table
from stages.qa.scoring.curves import LAYERS, best_layer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = r"^\| (minilm[\w-]*) \| (\w+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]*) ?\|$"


def curve(model: str, protocol: str, reading: str) -> pd.DataFrame:
    """Layer, F1, HasAns F1 and forced F1, means over runs and seeds."""
    layers = read_table(ROOT / f"metrics/demo/{model}/evaluate/layers.csv", LAYERS)
    rows = layers[layers["final"] & (layers["protocol"] == protocol) & (layers["reading"] == reading)]
    return rows.groupby("layer")[["f1", "HasAns_f1", "forced_f1"]].mean().reset_index()


def test_the_demos_table() -> None:
    rows = re.findall(ROW, README, re.MULTILINE)
    assert len(rows) == 4
    for model, protocol, *numbers in rows:
        best = best_layer(curve(model, protocol, "probe"))
        expected = [f"{best['layer']:.0f}", *(f"{best[name]:.2f}" for name in ("f1", "HasAns_f1", "forced_f1"))]
        heads = curve(model, protocol, "head")["f1"]
        assert numbers == [*expected, f"{heads.iloc[0]:.2f}" if len(heads) else ""], (model, protocol)


def test_the_answer_is_that_of_the_report() -> None:
    report = (ROOT / "plots/demo/report.md").read_text(encoding="utf-8").replace("\\", "")
    answer = report.split("\n\n")[1]
    assert answer.startswith("Fine-tuning adds")
    assert answer in " ".join(README.split())

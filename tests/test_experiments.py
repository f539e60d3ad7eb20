"""The table of `make experiments`, from what DVC prints."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.qa.experiments import experiment_table

ROOT = Path(__file__).parents[1]


def state(name: str | None, threshold: float, resamples: int, f1: float, **more: Any) -> dict[str, Any]:
    """As DVC 3.67 writes it."""
    protocol = {"null_threshold": threshold, "windows": "official"}
    params = {"protocols": {"a": protocol, "b": protocol}, "statistics": {"resamples": resamples}, "probed": ["m", "n"]}
    metrics = {f"metrics/demo/{key}.json": {"data": {"best_f1": f1, "last_f1": f1 - 1}} for key in ("m", "n")}
    data = {"params": {"params.yaml": {"data": params}}, "metrics": metrics}
    return {"rev": "0123456789abcdef", "name": name, "data": data, "error": None, **more}


def failed(name: str) -> dict[str, Any]:
    return {"rev": "fedcba9876543210", "name": name, "data": None, "error": {"msg": "no", "type": "E"}}


BOLD = state("bold", 2.0, 500, 60.125)
SHOWN = [
    state(None, 0.0, 5000, 50.0, rev="workspace", experiments=None),
    state("main", 0.0, 5000, 50.0, experiments=[{"revs": [BOLD]}, {"revs": [failed("bad")]}]),
]


def test_a_row_per_experiment_and_model_and_only_parameters_that_differ() -> None:
    table, names = experiment_table(SHOWN).split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    threshold = [f"protocols.{name}.null_threshold" for name in "ab"]  # the last words alone are the same
    assert rows[0] == ["experiment", *threshold, "resamples", "model", "best F1", "last F1", "last forced"]
    assert rows[2:] == [
        ["workspace", "0.0", "0.0", "5000", "m", "50.00", "49.00", "-"],
        ["", "", "", "", "n", "50.00", "49.00", "-"],
        ["main", "0.0", "0.0", "5000", "m", "50.00", "49.00", "-"],
        ["", "", "", "", "n", "50.00", "49.00", "-"],
        ["+ bold", "2.0", "2.0", "500", "m", "60.12", "59.12", "-"],
        ["", "", "", "", "n", "60.12", "59.12", "-"],
        ["+ bad", "-", "-", "-", "failed", "-", "-", "-"],
    ]
    assert names == "resamples: statistics.resamples\n"
    assert max(map(len, experiment_table(SHOWN[:1]).splitlines())) < 60


def test_the_command() -> None:
    command = [sys.executable, "-m", "stages.experiments"]
    out = subprocess.run(command, cwd=ROOT, input=json.dumps(SHOWN), capture_output=True, text=True, check=True)
    assert out.stdout == experiment_table(SHOWN)
    bad = subprocess.run(command, cwd=ROOT, input="", capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: standard input: not what `dvc exp show --json` prints")

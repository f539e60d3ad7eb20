"""The part of the report on controls, code length, mixes and comparisons: figures and a page into one folder."""

from pathlib import Path

import pandas as pd

from stages.qa.artifacts import write_text
from stages.qa.plotting import save
from stages.qa.probing_figures import figures
from stages.qa.probing_page import probing_page
from stages.qa.probing_results import ProbingResults


def write_probing(folder: Path, results: ProbingResults, scores: pd.DataFrame) -> None:
    """Write probing.md and a PNG for each figure; `scores`: the score frame of the probed models."""
    for name, figure in figures(results).items():
        save(figure, folder / f"{name}.png")
    write_text(folder / "probing.md", probing_page(results, scores))

"""The results of a study that its figures are drawn from, read back from the folder of its metrics."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.qa.report.evidence import Evidence, read_evidence, with_bands
from stages.qa.report.probing_results import ProbingResults, read_probing
from stages.qa.report.tables import read_layers, read_losses


@dataclass(frozen=True)
class Results:
    """Frames of all models of a study."""

    scores: pd.DataFrame  # a score frame of `tables` with bands, as `with_bands` adds them
    probed: pd.DataFrame  # its rows of the probed models
    losses: pd.DataFrame
    evidence: Evidence
    probing: ProbingResults


def read_results(
    folder: Path, *, probed: list[str], heads: list[str], compared: dict[str, str], confidence: float
) -> Results:
    """Read FOLDER; InputError names the file that is missing or malformed."""
    evidence = read_evidence(folder, probed + heads)
    scores = with_bands(read_layers(folder / "layers", probed, heads), evidence.intervals, confidence)
    return Results(
        scores=scores,
        probed=scores[scores["model"].isin(probed)],
        losses=read_losses(folder / "loss", probed),
        evidence=evidence,
        probing=read_probing(folder, probed, compared),
    )

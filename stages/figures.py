"""Draw the figures of a study once more, as SVG or PDF for a paper; not a stage of the pipeline.

metrics/<study> -> a folder of your own
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa import plotting, tables
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.evidence import read_evidence, with_bands
from stages.qa.figures import study_figures
from stages.qa.probing_results import read_probing


class Format(StrEnum):
    """What matplotlib writes."""

    svg = "svg"
    pdf = "pdf"
    png = "png"


def main(
    metrics_dir: Path, out_dir: Path, format: Annotated[Format, Option(help="Of the files.")] = Format.svg
) -> None:
    """Read METRICS_DIR; write every figure of the study in params.yaml to OUT_DIR."""
    params = load_params()
    scores = tables.read_layers(metrics_dir / "layers", params.probed, params.heads)
    losses = tables.read_losses(metrics_dir / "loss", params.probed)
    evidence, confidence = read_evidence(metrics_dir, params.probed + params.heads), params.statistics.confidence
    probing = read_probing(metrics_dir, params.probed, params.compared)
    scores = with_bands(scores, evidence.intervals, confidence)
    probed = scores[scores["model"].isin(params.probed)]
    for name, figure in study_figures(probed, losses, params.ladder, evidence, probing, confidence):
        plotting.save(figure, out_dir / f"{name}.{format}")
        print(out_dir / f"{name}.{format}")


if __name__ == "__main__":
    run(main)

"""Draw the figures of a study once more, as SVG or PDF for a paper; not a stage of the pipeline.

metrics/<study> -> a folder of your own
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.report.figures import study_figures
from stages.qa.report.results import read_results
from stages.qa.report.style import save


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
    confidence = params.statistics.confidence
    results = read_results(
        metrics_dir, probed=params.probed, heads=params.heads, compared=params.compared, confidence=confidence
    )
    for name, figure in study_figures(results, params.ladder, confidence):
        save(figure, out_dir / f"{name}.{format}")
        print(out_dir / f"{name}.{format}")


if __name__ == "__main__":
    run(main)

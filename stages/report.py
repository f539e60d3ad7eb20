"""Report the results of a study: figures, one page, a short text, a card, and the data of `dvc plots`."""

from pathlib import Path
from typing import Literal

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.files import write_text
from stages.qa.report.charts import curve_charts
from stages.qa.report.figures import write_figures
from stages.qa.report.html import page, render
from stages.qa.report.original import read_published
from stages.qa.report.page_data import pack, split_rows
from stages.qa.report.results import read_results
from stages.qa.report.views import sources, study_view
from stages.qa.scoring.intervals import load_resampled


def main(
    metrics_dir: Path,
    scores_dir: Path,
    data_dir: Path,
    published_dir: Path,
    requirements: Path,
    out_dir: Path,
    format: Literal["png", "svg", "pdf"] = "png",
    questions: bool = True,
) -> None:
    """Write the report of the study in params.yaml to OUT_DIR, with its figures in --format.

    --no-questions leaves the text of the questions and the answers out of the page, for data that may not be passed on.
    """
    params = load_params()
    results = read_results(metrics_dir, {curve: params.runs_of(curve) for curve in params.probed}, params.compared)
    resamples = load_resampled(scores_dir, results.models, results.protocols, params.statistics)
    view, charts = study_view(params, results, resamples, read_published(published_dir))
    examples = read_squad(data_dir / "dev.json", purpose="score")
    view["provenance"] = sources(params, results.runs, data_dir, requirements)
    view["explorer"] = pack(examples, scores_dir, results.models, results.protocols) if questions else ""
    by_layer = curve_charts(results, params.ladder, params.statistics.confidence)
    write_figures(by_layer | charts, results, out_dir / "figures", format)
    for name, rows in {"layers": split_rows(results.curves), "loss": results.losses}.items():
        write_text(out_dir / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(out_dir / "report.html", page(view))
    for name in ("report.md", "CARD.md"):
        write_text(out_dir / name, render(name, view))


if __name__ == "__main__":
    run(main)

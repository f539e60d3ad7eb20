"""Report the results of a study: figures, one page, a short text, a card, and the data of `dvc plots`.

metrics/<study>, data/scores/<study>, data/squad/<data set>, studies/published, requirements.txt -> plots/<study>
"""

from enum import StrEnum
from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.files import write_text
from stages.qa.report import charts, explorer, html, provenance, views
from stages.qa.report.curve_figures import study_figures
from stages.qa.report.findings import lineage
from stages.qa.report.published import read_published
from stages.qa.report.results import read_results
from stages.qa.report.style import save
from stages.qa.scoring.question_scores import load_question_scores

Format = StrEnum("Format", ["png", "svg", "pdf"])  # of the figures


def main(
    metrics_dir: Path,
    scores_dir: Path,
    data_dir: Path,
    published_dir: Path,
    requirements: Path,
    out_dir: Path,
    format: Format = Format.png,
) -> None:
    """Write the report of the study in params.yaml to OUT_DIR."""
    params = load_params()
    confidence = params.statistics.confidence
    results = read_results(metrics_dir, params.probed, params.compared)
    for name, figure in study_figures(results, params.ladder, confidence):
        save(figure, out_dir / f"{name}.{format}")
    for name, rows in (("layers", charts.split_rows(results.curves)), ("loss", results.losses)):
        write_text(out_dir / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))

    family = lineage(params.probed, params.encoders, params.finetuned)
    examples = read_squad(data_dir / "dev.json", purpose="score")
    models = [(key, protocol) for key in params.probed for protocol in results.protocols]
    view = views.study_view(
        results, family, read_published(published_dir), ladder=params.ladder, confidence=confidence
    ) | {
        "study": params.study,
        "dataset": params.dataset,
        "counts": views.dev_counts(examples),
        "explorer": explorer.pack(examples, {(k, p): load_question_scores(scores_dir / k / p) for k, p in models}),
        "provenance": provenance.collect(
            data_dir, params.datasets[params.dataset], results.records, family, params.finetuned, requirements
        ),
        "settings": {"probe": params.probe, "convex": params.convex, "windows": params.windows},
        "protocols": {name: params.protocols[name] for name in results.protocols},
    }
    write_text(out_dir / "report.html", html.page(view))
    for name in ("report.md", "CARD.md"):
        write_text(out_dir / name, html.render(name, view))


if __name__ == "__main__":
    run(main)

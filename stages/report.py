"""Draw the curves of all models, tabulate their results, and say what they show."""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.files import write_text
from stages.qa.report import claims as statements
from stages.qa.report import findings, pages, published, tables
from stages.qa.report.evidence_page import evidence_section
from stages.qa.report.figures import study_figures
from stages.qa.report.probing_page import probing_page
from stages.qa.report.results import read_results
from stages.qa.report.style import save


def main(metrics_dir: Path, plots_dir: Path, published_dir: Path) -> None:
    """Read METRICS_DIR; write figures, plot data, results and findings to PLOTS_DIR, beside those of PUBLISHED_DIR."""
    params = load_params()
    confidence = params.statistics.confidence
    results = read_results(
        metrics_dir, probed=params.probed, heads=params.heads, compared=params.compared, confidence=confidence
    )
    scores, probed, losses = results.scores, results.probed, results.losses
    question = tables.read_question(metrics_dir / "question", params.probed + params.heads)

    for name, figure in study_figures(results, params.ladder, confidence):
        save(figure, plots_dir / f"{name}.png")

    mean_losses = tables.mean_over_seeds(tables.first_rate(losses)).drop(columns="learning_rate")
    for name, rows in (("layers", tables.long_form(scores)), ("loss", mean_losses)):
        write_text(plots_dir / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))

    trained_here = {key: variant.base for key, variant in params.finetuned.items()}
    bases = findings.pretrained_bases(params.probed, trained_here)
    references = findings.references(scores, bases, findings.random_twins(params.encoders))
    steps, claims = findings.ladder(probed, params.ladder), statements.claims(probed, bases)
    page = pages.findings_page(references, steps, claims, question, params.question)
    write_text(plots_dir / "findings.md", f"{page}\n{evidence_section(results.evidence, confidence)}")
    write_text(plots_dir / "probing.md", probing_page(results.probing, probed))

    # a ladder starts from the original's protocol
    protocol = params.ladder[0] if params.ladder else tables.protocols_of(scores)[0]
    layers, heads = published.read_tables(published_dir)
    theirs = published.as_scores(layers)
    their_claims = statements.claims(theirs, findings.pretrained_bases(list(theirs["model"].unique()), {}))
    comparison = published.compare(scores, layers, heads, protocol)
    write_text(plots_dir / "published.md", pages.published_page(scores, comparison, their_claims, protocol))

    table = tables.result_table(scores)
    write_text(plots_dir / "results.md", table)
    print(table, end="")


if __name__ == "__main__":
    run(main, files="plots_dir")

"""One HTML page of the whole study, to open, send and print: curves, findings, and every answer to every question.

metrics/<study>, data/scores/<study>, data/squad/<data set> -> plots/<study>/report.html, metrics/<study>/CARD.md
"""

from pathlib import Path

from stages.qa import explorer, findings, html_page, page_data, page_tables, provenance, published, statements, tables
from stages.qa.artifacts import write_text
from stages.qa.cards import study_card
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.headline import headline
from stages.qa.question_scores import load_question_scores
from stages.qa.squad import read_squad


def main(
    metrics_dir: Path, scores_dir: Path, data_dir: Path, published_dir: Path, requirements: Path, page: Path, card: Path
) -> None:
    """Write PAGE from METRICS_DIR, SCORES_DIR and DATA_DIR, beside PUBLISHED_DIR's numbers; and CARD in the hub's format."""
    params = load_params()
    keys = params.probed + params.heads
    scores = tables.read_layers(metrics_dir / "layers", params.probed, params.heads)
    losses = tables.read_losses(metrics_dir / "loss", params.probed)
    probed = scores[scores["model"].isin(params.probed)]
    examples = read_squad(data_dir / "dev.json", purpose="score")
    answers = {(k, name): load_question_scores(scores_dir / k / name) for k in keys for name in params.protocols}
    intervals = None

    bases = findings.pretrained_bases(params.probed, {key: run.base for key, run in params.finetuned.items()})
    twins = findings.random_twins(params.encoders)
    kinds = page_data.kinds(keys, bases, list(twins.values()))
    files = provenance.data_records(data_dir, params.datasets[params.dataset])
    models = provenance.model_records(metrics_dir / "models", kinds, params.encoders, params.finetuned)
    layers = published.read_published(published_dir / "layer_results.csv", layers=True)
    heads = published.read_published(published_dir / "finetuned_results.csv", layers=False)
    # a ladder starts from the original's protocol
    protocol = [*params.ladder, *params.protocols][0]
    comparison = published.compare(scores, layers, heads, protocol)
    steps = findings.ladder(probed, params.ladder)

    answer = headline(probed, bases, twins, intervals)
    charts = page_data.chart_data(scores, losses, steps, comparison, intervals)
    values = {
        "study": params.study,
        "dataset": params.dataset,
        "headline": answer,
        "charts": charts | {"kinds": kinds, "start": answer.metric},
        "explorer": explorer.pack(examples, answers),
        "provenance": provenance.Provenance(files, models, provenance.pinned_versions(requirements)),
        "counts": provenance.data_summary(examples),
        "settings": {"probe": params.probe, "convex": params.convex, "windows": params.windows},
        "protocols": params.protocols,
    }
    values |= page_tables.result_tables(probed, findings.references(scores, bases, twins), steps)
    values |= page_tables.claim_tables(statements.claims(probed, bases))
    values |= page_tables.published_tables(comparison, protocol)
    write_text(page, html_page.page(values))
    write_text(card, study_card(params.study, params.dataset, scores, models, files))


if __name__ == "__main__":
    run(main)

"""One HTML page of the whole study, to open, send and print: curves, findings, and every answer to every question.

metrics/<study>, data/scores/<study>, data/squad/<data set> -> plots/<study>/report.html, metrics/<study>/CARD.md
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import headline_first, load_params
from stages.qa.data.squad import read_squad
from stages.qa.files import write_text
from stages.qa.report import claims as statements
from stages.qa.report import explorer, findings, page_data, page_tables, published, tables
from stages.qa.report import html as html_page
from stages.qa.report.cards import study_card
from stages.qa.report.evidence import read_models, shown_unit
from stages.qa.report.lineage import lineage
from stages.qa.report.provenance import collect
from stages.qa.report.summary import headline
from stages.qa.scoring.question_scores import load_question_scores


def main(
    metrics_dir: Path, scores_dir: Path, data_dir: Path, published_dir: Path, pins: Path, page: Path, card: Path
) -> None:
    """Write PAGE and CARD from METRICS_DIR, SCORES_DIR, DATA_DIR, numbers of PUBLISHED_DIR and versions of PINS."""
    params = load_params()
    confidence = params.statistics.confidence
    family = lineage(params.probed + params.heads, params.encoders, params.finetuned)
    scores = tables.read_layers(metrics_dir / "layers", params.probed, params.heads)
    probed = scores[scores["model"].isin(params.probed)]
    losses = tables.read_losses(metrics_dir / "loss", params.probed)
    intervals = shown_unit(read_models(metrics_dir / "intervals", params.probed + params.heads))
    examples = read_squad(data_dir / "dev.json", purpose="score")
    protocols = headline_first(params.protocols, params.headline)
    answers = {(key, name): load_question_scores(scores_dir / key / name) for key in family for name in protocols}
    origin = collect(data_dir, params.datasets[params.dataset], metrics_dir / "models", family, params.finetuned, pins)
    first = [*params.ladder, *protocols][0]  # a ladder starts from the original's protocol
    comparison = published.compare(scores, *published.read_tables(published_dir), first)
    steps = findings.ladder(probed, params.ladder)
    answer = headline(probed, family, intervals)
    values = {
        "study": params.study,
        "dataset": params.dataset,
        "headline": answer,
        "charts": page_data.chart_data(scores, losses, steps, comparison, intervals, family, answer.metric, confidence),
        "explorer": explorer.pack(examples, answers),
        "counts": page_tables.question_counts(examples),
        "provenance": origin,
        "settings": {"probe": params.probe, "convex": params.convex, "windows": params.windows},
        "protocols": {name: params.protocols[name] for name in protocols},
    }
    values |= page_tables.result_tables(probed, findings.references(scores, family.bases, family.twins), steps)
    values |= page_tables.claim_tables(statements.claims(probed, family.bases))
    values |= page_tables.published_tables(comparison, first)
    write_text(page, html_page.page(values))
    write_text(card, study_card(params.study, params.dataset, scores, origin))


if __name__ == "__main__":
    run(main, files="page")

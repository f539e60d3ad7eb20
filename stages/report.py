"""Draw the curves of all probed models, and tabulate their results."""

from pathlib import Path

from stages.qa import plotting, tables
from stages.qa.artifacts import write_text
from stages.qa.cli import run
from stages.qa.config import load_params


def main(metrics_dir: Path, plots_dir: Path) -> None:
    """Read the scores and losses under METRICS_DIR; write figures, plot data and the result table to PLOTS_DIR."""
    models = load_params().probed
    scores = tables.read_layers(metrics_dir / "layers", models)
    losses = tables.read_losses(metrics_dir / "loss", models)

    for draw in (plotting.f1_by_layer, plotting.exact_by_layer, plotting.panels, plotting.heat_map, plotting.epochs):
        plotting.save(draw(scores), plots_dir / f"{draw.__name__}.png")
    plotting.save(plotting.loss_curves(losses), plots_dir / "loss_curves.png")

    mean_losses = tables.mean_over_seeds(tables.first_rate(losses)).drop(columns="learning_rate")
    for name, rows in (("layers", tables.long_form(scores)), ("loss", mean_losses)):
        write_text(plots_dir / f"{name}.csv", rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    table = tables.result_table(scores)
    write_text(plots_dir / "results.md", table)
    print(table, end="")


if __name__ == "__main__":
    run(main)

"""Figures of the stages examine and compare: a probe and its controls by layer, and heat maps across layers."""

from collections.abc import Iterator
from textwrap import fill

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.report import style
from stages.qa.report.results import Results


def probing_figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """Yield file name without its ending, and figure, one after the other."""
    yield "controls", controls(results)
    tokens = f"{results.similarity['tokens'].iloc[0]:.0f} tokens of the sampled dev questions"
    yield "similarity", heat_maps(results.similarity, "cka", f"Linear CKA between layers\n{tokens}", "layers")


@style.applied
def controls(results: Results) -> Figure:
    """Forced F1 by layer of the probe and of its controls; a panel per model."""
    frame = results.controls
    models = list(frame["model"].unique())  # one without probes has no controls
    size, look = frame.iloc[0], style.looks(frame["control"].unique())
    figure, grid = style.small_multiples(len(models), "forced F1 (%)", (2.7, 2.6))
    for axes, model in zip(grid, models, strict=True):
        rows = frame[frame["model"] == model]
        for control, curve in rows.groupby("control", sort=False):
            style.draw_curve(axes, curve, "forced_f1", control, look[control])
        style.layer_axis(axes, rows["layer"])
        axes.set_title(fill(model, 34))
        axes.set_ylim(bottom=0)
    caption = f"A probe and its controls: forced F1, {size['questions']:.0f} sampled HasAns questions\n"
    style.finish(figure, caption + f"all trained on the same {size['training_questions']:.0f} questions")
    return figure


@style.applied
def heat_maps(frame: pd.DataFrame, value: str, caption: str, label: str) -> Figure:
    """`value` by layer (columns) and layer of the other model (rows); a panel per pair of models."""
    pairs = list(frame.groupby(["model", "other"], sort=False))
    norm = Normalize(0, max(frame[value].max(), 1e-9))
    figure, grid = style.small_multiples(len(pairs), "", (2.6, 2.9), sharey=False)
    for axes, ((model, other), rows) in zip(grid, pairs, strict=True):
        cells = rows.pivot(index="other_layer", columns="layer", values=value).to_numpy()
        axes.imshow(cells, cmap="viridis", norm=norm, origin="lower")
        y_label = f"{label} of {'itself' if model == other else other}"
        axes.set(title=fill(model, 30), xlabel="layer", ylabel=fill(y_label, 30))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(grid), aspect=30, pad=0.02)
    style.entitle(figure, caption)
    return figure

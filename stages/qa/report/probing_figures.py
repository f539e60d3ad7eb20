"""Figures of controls, code length and mixes by layer, and heat maps across layers."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.qa.report.curve_figures import LOOKS
from stages.qa.report.probing_results import ProbingResults
from stages.qa.report.style import entitle, finish, paper_style, say, small_multiples


def probing_figures(results: ProbingResults) -> Iterator[tuple[str, Figure]]:
    """File name without its ending, and figure, one after the other; an empty one for what was not measured."""
    counted = f"{int(results.controls['questions'].iloc[0])} sampled HasAns questions"
    yield "controls", controls(results.controls)
    yield "code_length", code_length(results.code_length) if len(results.code_length) else _none("Code length")
    yield "mixing", mixing(results.mixing) if len(results.mixing) else _none("Scalar mixes of layers")
    yield (
        "transfer",
        heat_maps(
            results.transfer.rename(columns={"probes_of": "other", "probe_layer": "other_layer"}),
            "forced_f1",
            f"Probes trained on one layer, read on another: forced F1 (%)\n{counted}",
            "probes",
        ),
    )
    tokens = int(results.similarity["tokens"].iloc[0])
    title = f"Linear CKA between layers\n{tokens} tokens of the sampled dev questions"
    yield "similarity", heat_maps(results.similarity, "cka", title, "layers")


@paper_style
def _none(title: str) -> Figure:
    figure = Figure(figsize=(5.0, 1.5), layout="constrained")
    entitle(figure, title)
    say(figure.subplots(), "not measured in this study")
    return figure


def controls(frame: pd.DataFrame) -> Figure:
    """Forced F1 by layer of the probe and of its controls; a panel per model."""
    size = frame.iloc[0]
    title = f"A probe and its controls: forced F1, {int(size['questions'])} sampled HasAns questions\n"
    title += f"all trained on the same {int(size['training_questions'])} questions"
    return _lines(frame, "control", "forced_f1", title, "forced F1 (%)")


def code_length(frame: pd.DataFrame) -> Figure:
    """Compression by layer, of the gold positions and of random spans; a panel per model."""
    positions = int(frame["positions"].iloc[0])
    title = f"Online code of {positions} answer positions\nlength of the uniform code over that of the online code"
    return _lines(frame, "labels", "compression", title, "compression")


def mixing(frame: pd.DataFrame) -> Figure:
    """Weight of each layer in the mix of all; one panel."""
    joined = frame.assign(name=frame["model"], model="all layers mixed")
    return _lines(joined, "name", "weight", "Weights of the scalar mix", "weight")


@paper_style
def _lines(frame: pd.DataFrame, by: str, value: str, title: str, label: str) -> Figure:
    """`value` by layer: a panel per model, a line for each value of the column `by`."""
    models = list(dict.fromkeys(frame["model"]))
    look = dict(zip(dict.fromkeys(frame[by]), cycle(LOOKS), strict=False))
    figure, grid = small_multiples(len(models), label, (2.7, 2.6))
    for axes, model in zip(grid, models, strict=True):
        for name, line in frame[frame["model"] == model].groupby(by, sort=False):
            axes.plot(line["layer"], line[value], label=name, **look[name])
        axes.set(title=fill(model, 34), xlabel="layer (0 = embeddings)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.grid(axis="y")
        axes.set_ylim(bottom=0)
    finish(figure, title)
    return figure


@paper_style
def heat_maps(frame: pd.DataFrame, value: str, title: str, label: str) -> Figure:
    """`value` by layer (columns) and layer of the other model (rows); a panel per pair of models."""
    pairs: Sequence[tuple[tuple[str, str], pd.DataFrame]] = list(frame.groupby(["model", "other"], sort=False))
    norm = Normalize(0, max(float(frame[value].max()), 1e-9))
    figure, grid = small_multiples(len(pairs), "", (2.6, 2.9), sharey=False)
    for axes, ((model, other), part) in zip(grid, pairs, strict=True):
        cells = part.pivot(index="other_layer", columns="layer", values=value).to_numpy()
        axes.imshow(np.ma.masked_invalid(cells), cmap="viridis", norm=norm, origin="lower")
        own = "itself" if model == other else other
        axes.set(title=fill(model, 30), xlabel="layer", ylabel=fill(f"{label} of {own}", 30))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(grid), aspect=30, pad=0.02)
    entitle(figure, title)
    return figure

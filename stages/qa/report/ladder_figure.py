"""The curves of each model under each protocol of the ladder."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from stages.qa.report.curve_figures import panels
from stages.qa.report.style import paper_style
from stages.qa.report.tables import question_counts


@paper_style
def ladder_panels(frame: pd.DataFrame, protocols: Sequence[str]) -> Figure:
    """F1 on all, HasAns and NoAns questions, and with an answer forced; a row per model, a curve per protocol."""
    models = frame["model"].unique()
    curves = [frame[(frame["model"] == model) & (frame["protocol"] == name)] for model in models for name in protocols]
    steps = pd.concat(curves, ignore_index=True)
    # the panels of several protocols, with model and protocol changing parts
    caption = f"F1 of a probe on each layer, by protocol\n{question_counts(frame)}"
    figure = panels(steps.assign(model=steps["protocol"], protocol=steps["model"]), caption)
    columns = len(figure.axes) // len(models)
    for axes, model in zip(figure.axes, models.repeat(columns), strict=True):
        questions = axes.get_title(loc="left").rpartition("\n")[2]
        axes.set_title(f"{fill(model, 34)}\n{questions}")
    return figure

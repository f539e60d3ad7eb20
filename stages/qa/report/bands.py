"""Bands of whole curves in the figures of `plotting`: drawn only where the score frame has them (see `evidence`)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from stages.qa.report.style import WHOLE_CURVE


def draw_band(axes: Axes, rows: pd.DataFrame, metric: str, colour: Any) -> None:
    """The simultaneous band of one curve; rows: of one model and protocol."""
    low, high = f"{metric}_band_low", f"{metric}_band_high"
    if low in rows and rows[low].notna().any():
        band = rows.groupby("layer")[[low, high]].first()
        axes.fill_between(band.index, band[low], band[high], color=colour, alpha=0.13, linewidth=0)
        axes.fill_between([], [], color="#777777", alpha=0.25, linewidth=0, label=WHOLE_CURVE)  # the legend's, in grey


def draw_bar(axes: Axes, place: float, rows: pd.DataFrame, metric: str, colour: Any) -> None:
    """The interval of a single score, of an own head, at `place`."""
    low, high = f"{metric}_band_low", f"{metric}_band_high"
    if low in rows and rows[low].notna().any():
        axes.vlines([place], rows[low].iloc[:1], rows[high].iloc[:1], color=colour, alpha=0.5, linewidth=1.0)


def basis(frame: pd.DataFrame) -> str:
    """What the bands of a score frame rest on, in words; "" without bands."""
    if "clusters" not in frame or frame["clusters"].isna().all():
        return ""
    some = frame.dropna(subset=["clusters"]).iloc[0]
    return f"; {100 * some['confidence']:g} % bands, from {some['clusters']:,.0f} {some['unit']}s"

"""What stands behind the scores of a study: intervals, differences, quality, calibration and breakdown, as frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.qa.errors import InputError

POINT = ["model", "protocol", "reading", "layer"]
_TEXT = ("model", "less", "protocol", "reading", "metric", "unit", "breakdown", "group", "comparison")


@dataclass(frozen=True)
class Evidence:
    """Frames in the order of the models; percent but for likelihoods (nats), thresholds and bins (probabilities)."""

    intervals: pd.DataFrame  # columns of `intervals.INTERVALS`
    differences: pd.DataFrame  # of `intervals.DIFFERENCES`
    quality: pd.DataFrame  # of `quality.QUALITY`
    reliability: pd.DataFrame  # of `quality.RELIABILITY`
    breakdown: pd.DataFrame  # of `breakdown.BREAKDOWN`


def read_evidence(metrics_dir: Path, models: Sequence[str]) -> Evidence:
    """Read METRICS_DIR/*/<model>.csv and differences.csv; InputError if one is missing or malformed."""
    folders = ("intervals", "quality", "reliability", "breakdown")
    frames = {name: read_models(metrics_dir / name, models) for name in folders}
    return Evidence(differences=_read(metrics_dir / "differences.csv"), **frames)


def read_models(folder: Path, models: Sequence[str]) -> pd.DataFrame:
    """One kind of evidence of all `models`, from folder/<model>.csv; InputError if one is missing or malformed."""
    return pd.concat([_read(folder / f"{model}.csv") for model in models], ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        # Only the empty string is missing: a model may well be called "null".
        frame = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the expected CSV ({error}); run evaluate and compare again") from error
    if missing := [name for name in ("model", "protocol", "layer") if name not in frame]:
        raise InputError(f"{path}: no column {missing[0]!r}; run evaluate and compare again")
    return frame


def shown_unit(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the unit that figures show: the one each file begins with."""
    return frame[frame["unit"] == frame["unit"].iloc[0]] if len(frame) else frame


def with_bands(scores: pd.DataFrame, intervals: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The score frame with columns <metric>_band_low and _band_high, clusters, unit and confidence."""
    shown = shown_unit(intervals)
    wide = shown.pivot(index=POINT, columns="metric", values=["band_low", "band_high"])
    wide.columns = pd.Index([f"{metric}_{side}" for side, metric in wide.columns])
    same = shown.groupby(POINT)[["clusters", "unit"]].first().assign(confidence=confidence)
    return scores.merge(wide.join(same).reset_index(), on=POINT, how="left")

"""The original study's published numbers, and ours beside them.

Two tables in percent: of the probes (a row per model and layer, after the third epoch) and of the models' own heads.
"""

from pathlib import Path

import pandas as pd

from stages.qa.errors import InputError
from stages.qa.report.results import at_final_rate, mean_of_runs
from stages.qa.scoring.resampling import Resampled

QUESTIONS = 6078  # of the dev split that the numbers are of (CS224N's)
NAME = "published"  # in the place of a protocol
EPOCH = 3  # after which the published probes were read
METRICS = ["exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"]


def key_of(model_prefix: str) -> str:
    """The key under which a study has a model of the hub."""
    return model_prefix.replace("/", "--").replace(".", "_")


def read_published(folder: Path) -> pd.DataFrame:
    """The two published tables, one after the other: model_prefix, model, reading, layer (missing: head), METRICS.

    Raises InputError if one is missing or malformed.
    """
    probes = _read(folder / "layer_results.csv", ["model_prefix", "layer"]).assign(reading="probe")
    heads = _read(folder / "finetuned_results.csv", ["model_prefix"]).assign(reading="head")
    rows = pd.concat([probes, heads], ignore_index=True)
    rows["model"] = rows["model_prefix"].map(key_of)
    return rows[["model_prefix", "model", "reading", "layer", *METRICS]]


def compare(layers: pd.DataFrame, published: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """One row per published row: model_prefix, model, reading, layer, status, then for each of METRICS
    <metric>_published, <metric>_ours and <metric>_difference (ours less published).

    layers: frame of `Results`. Ours: under `protocol`, after epoch EPOCH (or of a fit without epochs), at the final
    learning rate, mean over runs and seeds. status: "run", or "not run" without ours and the difference.
    """
    ours = at_final_rate(layers[layers["protocol"] == protocol])
    ours = ours[ours["epoch"].isna() | (ours["epoch"] == EPOCH)]
    ours = mean_of_runs(ours, ["model", "reading", "layer"], METRICS).astype({"layer": "float64"})
    ours.loc[ours["reading"] == "head", "layer"] = float("nan")  # the published heads have none
    keys = ["model", "reading", "layer"]
    rows = published.merge(ours, on=keys, how="left", suffixes=("_published", "_ours"))
    rows["status"] = rows["f1_ours"].isna().map({True: "not run", False: "run"})
    columns = ["model_prefix", *keys, "status"]
    for name in METRICS:
        rows[f"{name}_difference"] = rows[f"{name}_ours"] - rows[f"{name}_published"]
        columns += [f"{name}_published", f"{name}_ours", f"{name}_difference"]
    return rows[columns]


def as_curves(published: pd.DataFrame) -> dict[tuple[str, str], Resampled]:
    """The published probes as curves of which no resample is known, under NAME: the claims are judged on them too."""
    curves = {}
    for model, rows in published[published["reading"] == "probe"].sort_values("layer").groupby("model", sort=False):
        values = {metric: rows[metric].to_numpy()[None] for metric in METRICS}
        layers = rows["layer"].astype(int).tolist()
        curves[str(model), NAME] = Resampled(layers, values, 0.0, {}, clusters=0, unit="article", runs=1)
    return curves


def _read(path: Path, keys: list[str]) -> pd.DataFrame:
    types = {name: "str" if name == "model_prefix" else "float64" for name in (*keys, *METRICS)}
    try:
        frame = pd.read_csv(path, usecols=list(types), dtype=types, encoding="utf-8")[list(types)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the published table ({error}); restore it from the repository") from error
    if frame.isna().any(axis=None) or frame.duplicated(keys).any():
        raise InputError(f"{path}: a cell is empty or a row occurs twice; restore it from the repository")
    return frame

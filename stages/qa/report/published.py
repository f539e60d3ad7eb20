"""The original study's published numbers, and ours beside them.

Two tables in percent: of the probes (a row per model and layer, after the third epoch) and of the models' own heads.
"""

from pathlib import Path

import pandas as pd

from stages.qa.errors import InputError
from stages.qa.report.tables import KEYS, SCORES, first_rate, mean_over_seeds

QUESTIONS = 6078  # of the dev split that the numbers are of (CS224N's)
EPOCH = 3  # after which the published probes were read
METRICS = ["exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"]


def key_of(model_prefix: str) -> str:
    """The key under which a study has a model of the hub."""
    return model_prefix.replace("/", "--").replace(".", "_")


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two published tables: of the probes, and of the models' own heads."""
    probes = read_published(folder / "layer_results.csv", layers=True)
    return probes, read_published(folder / "finetuned_results.csv", layers=False)


def read_published(path: Path, *, layers: bool) -> pd.DataFrame:
    """A published table: model_prefix, layer (if `layers`), METRICS. InputError if it is missing or malformed."""
    columns = ["model_prefix", *(["layer"] if layers else []), *METRICS]
    types = {name: "str" if name == "model_prefix" else "float64" for name in columns}
    try:
        frame = pd.read_csv(path, usecols=columns, dtype=types, encoding="utf-8")[columns]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the published table ({error}); restore it from the repository") from error
    if frame.isna().any(axis=None) or frame.duplicated(columns[: 1 + layers]).any():
        raise InputError(f"{path}: a cell is empty or a row occurs twice; restore it from the repository")
    return frame.astype({"layer": int}) if layers else frame


def compare(
    frame: pd.DataFrame, published_layers: pd.DataFrame, published_heads: pd.DataFrame, protocol: str
) -> pd.DataFrame:
    """One row per published row: model_prefix, model, reading, layer (NaN: own head), status, then for each of METRICS
    <metric>_published, <metric>_ours and <metric>_difference (ours less published).

    Ours: under `protocol`, after epoch EPOCH (or of a fit without epochs), first learning rate, mean over the seeds.
    status: "run", or "not run" with NaN for ours and the difference.
    """
    ours = frame[(frame["protocol"] == protocol) & (frame["epoch"].isna() | (frame["epoch"] == EPOCH))]
    ours = mean_over_seeds(first_rate(ours))
    parts = []
    for reading, table in (("probe", published_layers), ("head", published_heads)):
        keys = ["model", "layer"] if reading == "probe" else ["model"]
        scores = ours[ours["reading"] == reading].set_index(keys)[METRICS]
        part = table.assign(model=table["model_prefix"].map(key_of), reading=reading)
        parts.append(part.join(scores, on=keys, lsuffix="_published", rsuffix="_ours"))
    rows = pd.concat(parts, ignore_index=True)
    rows["status"] = rows["f1_ours"].isna().map({True: "not run", False: "run"})
    columns = ["model_prefix", "model", "reading", "layer", "status"]
    for name in METRICS:
        rows[f"{name}_difference"] = rows[f"{name}_ours"] - rows[f"{name}_published"]
        columns += [f"{name}_{which}" for which in ("published", "ours", "difference")]
    return rows[columns]


def as_scores(published_layers: pd.DataFrame) -> pd.DataFrame:
    """The published probes as a score frame under a protocol called "published", for the same checks as ours."""
    frame = published_layers.drop(columns="model_prefix").reindex(columns=KEYS + SCORES)
    models = published_layers["model_prefix"].map(key_of)
    return frame.assign(model=models, protocol="published", reading="probe", layer=published_layers["layer"])

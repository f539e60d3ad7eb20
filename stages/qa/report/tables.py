"""The scores per layer: read, selected, and laid out as tables.

A score frame has one row per curve point: the columns KEYS, then SCORES in percent (counts for the *total columns).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from stages.qa.errors import InputError

KEYS = ["model", "protocol", "reading", "epoch", "layer", "learning_rate", "seed"]
SCORES = ["total", "exact", "f1", "HasAns_total", "HasAns_exact", "HasAns_f1", "NoAns_total", "NoAns_exact", "NoAns_f1"]
SCORES += ["forced_exact", "forced_f1", "best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
LOSS = ["model", "layer", "learning_rate", "seed", "epoch", "loss"]
QUESTION = ["model", "protocol", "reading", "epoch", "layer", "answer", "null_probability"]
SPLITS = {"all": "", "HasAns": "HasAns_", "NoAns": "NoAns_", "forced": "forced_"}  # split -> prefix of its columns
READINGS = ("probe", "head", "gold")  # gold: the true spans, put through the protocol's own search and decoding


def read_layers(folder: Path, probed: Sequence[str], heads: Sequence[str] = ()) -> pd.DataFrame:
    """The score frame of `probed`, then `heads` (models without probes), in that order, from folder/<model>.csv.

    Raises InputError if a file is missing or malformed, a curve point occurs twice, a probed model has no probe, or the
    files were not all measured on the same number of questions.
    """
    models = [*probed, *heads]
    frame = pd.concat([_read(folder / f"{model}.csv", model, KEYS + SCORES) for model in models], ignore_index=True)
    for model, rows in frame.groupby("model", sort=False):
        path = folder / f"{model}.csv"
        for field in ("protocol", "layer", "total", "exact", "f1"):
            if rows[field].isna().any():
                raise InputError(f"{path}: {field} is empty in a row; run the evaluate stage again")
        if unknown := sorted(set(rows["reading"].fillna("")) - set(READINGS)):
            raise InputError(f"{path}: reading {unknown[0]!r} is none of {', '.join(READINGS)}")
        if model in probed and (rows["reading"] != "probe").all():
            raise InputError(f"{path}: no row with reading 'probe'; run the evaluate stage again")
        if rows.duplicated(KEYS).any():
            layer = rows.loc[rows.duplicated(KEYS), "layer"].iloc[0]
            raise InputError(f"{path}: two rows for one curve point (layer {layer:g}); run the evaluate stage again")
        if len(frame.loc[[frame.index[0], *rows.index], ["total", "NoAns_total"]].fillna(0).drop_duplicates()) > 1:
            raise InputError(
                f"{path}: total or NoAns_total differs between rows or from {models[0]}.csv: they were scored on "
                "different questions; run the evaluate stage again"
            )
    return frame.astype({"layer": int})


def read_losses(folder: Path, models: Sequence[str]) -> pd.DataFrame:
    """The training losses (nats; columns LOSS) of `models`, in that order, from folder/<model>.csv.

    A file may hold no rows: a convex fit has no training curve. Raises InputError if one is missing or malformed.
    """
    frame = pd.concat([_read(folder / f"{model}.csv", model, LOSS) for model in models], ignore_index=True)
    if (faulty := frame[["layer", "epoch", "loss"]].isna().any(axis=1)).any():
        model = frame.loc[faulty, "model"].iloc[0]
        raise InputError(f"{folder / model}.csv: layer, epoch or loss is empty in a row; run the evaluate stage again")
    return frame.astype({"layer": int})


def read_question(folder: Path, models: Sequence[str]) -> pd.DataFrame:
    """What `models` answered to one question (columns QUESTION; answer "": no answer), from folder/<model>.csv.

    No rows if the study asks none. Raises InputError if a file is missing or malformed.
    """
    frame = pd.concat([_read(folder / f"{model}.csv", model, QUESTION) for model in models], ignore_index=True)
    if (faulty := frame[["protocol", "reading", "layer"]].isna().any(axis=1)).any():
        path = folder / f"{frame.loc[faulty, 'model'].iloc[0]}.csv"
        raise InputError(f"{path}: protocol, reading or layer is empty in a row; run the evaluate stage again")
    return frame.fillna({"answer": ""}).astype({"layer": int})


def _read(path: Path, model: str, columns: Sequence[str]) -> pd.DataFrame:
    text = ("model", "protocol", "reading", "answer")
    types = {name: "str" if name in text else "float64" for name in columns}
    try:
        # Only the empty string is missing: a model may well be called "null".
        frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""], encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; has the evaluate stage run for {model}?") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the expected CSV ({error}); run the evaluate stage again") from error
    if missing := [name for name in columns if name not in frame]:
        raise InputError(f"{path}: no column {missing[0]!r}; run the evaluate stage again")
    if stranger := [name for name in frame["model"].fillna("").unique() if name != model]:
        raise InputError(f"{path}: column model says {stranger[0]!r}, the file name {model!r}")
    return frame


def protocols_of(frame: pd.DataFrame) -> list[str]:
    """The protocols of the probes, in the order of the rows."""
    return list(dict.fromkeys(frame.loc[frame["reading"] == "probe", "protocol"]))


def question_counts(frame: pd.DataFrame) -> str:
    """How many questions of each kind the scores are of, in words."""
    total, no_answer = int(frame["total"].iloc[0]), int(frame["NoAns_total"].fillna(0).iloc[0])
    return f"{total:,} questions: {total - no_answer:,} HasAns, {no_answer:,} NoAns"


def no_answer_score(frame: pd.DataFrame) -> float:
    """What always answering "no answer" scores, in percent: exact and F1 alike."""
    return float(100 * frame["NoAns_total"].fillna(0).iloc[0] / frame["total"].iloc[0])


def last_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model and protocol's last epoch, and those that have no epoch (convex fits, own heads)."""
    last = frame.groupby(["model", "protocol", "reading"], sort=False)["epoch"].transform("max")
    return frame[frame["epoch"].isna() | (frame["epoch"] == last)]


def first_rate(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the learning rate that each model's (and protocol's, and reading's) rows begin with."""
    curve = [name for name in ("model", "protocol", "reading") if name in frame]
    first = frame.groupby(curve, sort=False)["learning_rate"].transform("first")  # the first that is not empty
    return frame[frame["learning_rate"].isna() | (frame["learning_rate"] == first)]


def mean_over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per curve point: the mean of every score (or loss) over the seeds."""
    point = [name for name in (*KEYS, *LOSS) if name in frame and name not in ("seed", "loss")]
    values = [name for name in (*SCORES, "loss") if name in frame]
    return frame.groupby(list(dict.fromkeys(point)), sort=False, dropna=False)[values].mean().reset_index()


def best_layer(points: pd.DataFrame) -> pd.Series:
    """The point of the highest F1, then HasAns F1, then the shallowest layer, of one curve's points."""
    return points.sort_values(["f1", "HasAns_f1", "layer"], ascending=[False, False, True]).iloc[0]


def long_form(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns model, protocol, layer, split (a key of SPLITS), f1, exact: one row per point of the final curves.

    Last epoch, first learning rate, mean over the seeds; no rows for a split without questions.
    """
    points = mean_over_seeds(first_rate(last_epoch(frame[frame["reading"] == "probe"])))
    keys = ["model", "protocol", "layer"]
    parts = []
    for split, prefix in SPLITS.items():
        columns = {f"{prefix}f1": "f1", f"{prefix}exact": "exact"}
        part = points[keys + list(columns)].rename(columns=columns)
        part.insert(len(keys), "split", split)
        parts.append(part.dropna(subset=["f1"]))
    return pd.concat(parts, ignore_index=True)


def result_table(frame: pd.DataFrame) -> str:
    """A Markdown table, one row per model and protocol: its best layer, its last layer, its own QA head."""
    chosen = first_rate(last_epoch(frame))
    points = mean_over_seeds(chosen)
    several = len(protocols_of(frame)) > 1
    shown = ["exact", "f1", "HasAns_f1", "NoAns_f1", "forced_f1"]
    names = ["exact", "F1", "HasAns", "NoAns", "forced"]
    rows = [["model", *(["protocol"] if several else []), "best", *names, "last", *names, "head"]]
    heads = points[points["reading"] == "head"].set_index(["model", "protocol"])["f1"]
    for (model, protocol), probes in points[points["reading"] == "probe"].groupby(["model", "protocol"], sort=False):
        last = probes.sort_values("layer").iloc[-1]
        cells = [model, *([protocol] if several else [])]
        for layer in (best_layer(probes), last):
            cells += [str(int(layer["layer"])), *(percent(layer[name]) for name in shown)]
        rows.append([*cells, percent(heads.get((model, protocol), float("nan")))])
    for (model, protocol), score in heads.items():
        if not (points.loc[points["model"] == model, "reading"] == "probe").any():
            rows.append([model, *([protocol] if several else []), *["-"] * 2 * (1 + len(shown)), percent(score)])
    return markdown(rows, left=1 + several) + "\n" + _legend(chosen)


def _legend(chosen: pd.DataFrame) -> str:
    seeds = chosen["seed"].nunique()
    average = f", mean of {seeds} seeds" if seeds > 1 else ""
    return f"""\
{question_counts(chosen)}. \
Always answering "no answer" scores {no_answer_score(chosen):.2f} (exact and F1).

Percent, after the last epoch{average}. HasAns, NoAns: F1 on those questions. Forced: F1 on HasAns questions
when an answer is forced. Best: the layer of the highest F1, then HasAns F1, then the shallowest, chosen on the very
questions that it is scored on. Last: the last layer. Head: F1 of the checkpoint's own QA head.
"""


def percent(value: float) -> str:
    """Two decimals; "-" for a missing value."""
    return "-" if pd.isna(value) else f"{value:.2f}"


def markdown(rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Rows (the first is the head) as an aligned Markdown table whose first `left` columns are flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        pairs = enumerate(zip(cells, widths, strict=True))
        return f"| {' | '.join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in pairs)} |\n"

    rule = ("-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths))
    return line(rows[0]) + line(rule) + "".join(line(row) for row in rows[1:])

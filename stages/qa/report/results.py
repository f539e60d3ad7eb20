"""The tables of a study, read into frames: what every figure, table and chart of the report is made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.qa.errors import InputError
from stages.qa.files import read_json, read_table
from stages.qa.readings import CLUSTERS, CONTROLS, DESCRIPTION, LEARNING, SIMILARITY
from stages.qa.scoring.answerability import QUALITY
from stages.qa.scoring.breakdown import BREAKDOWN
from stages.qa.scoring.curves import LAYERS, LOSS, SCORES
from stages.qa.scoring.intervals import DIFFERENCES, INTERVALS
from stages.qa.scoring.question_scores import POINT


@dataclass(frozen=True)
class Results:
    """A frame a table, of all models in the order of the study; percent, but for nats and probabilities."""

    models: list[str]
    layers: pd.DataFrame  # columns LAYERS: every epoch, learning rate, seed and l2
    curves: pd.DataFrame  # columns POINT and SCORES: the final points, mean over runs and seeds
    losses: pd.DataFrame  # LOSS
    intervals: pd.DataFrame  # INTERVALS
    steps: pd.DataFrame  # DIFFERENCES: each layer less the one below it
    differences: pd.DataFrame  # DIFFERENCES: each compared model less the other
    grafts: pd.DataFrame  # INTERVALS: readings graft and graft_reverse of each compared model, on a sample
    quality: pd.DataFrame  # QUALITY
    breakdown: pd.DataFrame  # BREAKDOWN
    controls: pd.DataFrame  # CONTROLS
    clusters: pd.DataFrame  # CLUSTERS
    learning: pd.DataFrame  # LEARNING
    description: pd.DataFrame  # DESCRIPTION
    similarity: pd.DataFrame  # SIMILARITY: of a model with itself, and with the model it is compared with
    l2: dict[str, Any]  # of `choose_l2`
    runs: dict[str, dict[str, dict[str, Any]]]  # model -> its runs.json: run -> where its model is from

    @property
    def protocols(self) -> list[str]:
        """The protocols, that of the headline first."""
        rows = self.layers.sort_values("headline", ascending=False, kind="stable")
        return list(rows["protocol"].unique())


def read_results(folder: Path, runs: Mapping[str, Sequence[str]], compared: Mapping[str, str]) -> Results:
    """Read FOLDER/l2.json and FOLDER/<model>/{evaluate,examine,compare}/; compare/ only of the keys of `compared`.

    runs: those of each model. Raises InputError naming the file if one is missing or malformed, or has other runs.
    """
    models = list(runs)

    def read(table: str, columns: Sequence[str], keys: Iterable[str] = models) -> pd.DataFrame:
        frames = [read_table(folder / key / f"{table}.csv", columns) for key in keys]
        return joined(frames) if frames else pd.DataFrame(columns=list(columns))

    layers = read("evaluate/layers", LAYERS)
    records = {key: read_json(folder / key / "evaluate/runs.json") for key in models}
    for model in models:
        if set(records[model]) != set(runs[model]):
            has, wants = ", ".join(sorted(records[model])), ", ".join(sorted(runs[model]))
            where = f"remove the others from data/predictions/{model}, and run dvc repro again"
            raise InputError(f"{folder / model}: holds the runs {has}, params.yaml says {wants}; {where}")
    return Results(
        models=models,
        layers=layers,
        curves=mean_of_runs(layers[layers["final"]], POINT, SCORES),
        losses=read("evaluate/loss", LOSS),
        intervals=read("evaluate/intervals", INTERVALS),
        steps=read("evaluate/steps", DIFFERENCES),
        differences=read("compare/differences", DIFFERENCES, compared),
        grafts=read("compare/grafts", INTERVALS, compared),
        quality=read("evaluate/quality", QUALITY),
        breakdown=read("evaluate/breakdown", BREAKDOWN),
        controls=read("examine/controls", CONTROLS),
        clusters=read("examine/clusters", CLUSTERS),
        learning=read("examine/learning", LEARNING),
        description=read("examine/description", DESCRIPTION),
        similarity=joined([read("examine/similarity", SIMILARITY), read("compare/similarity", SIMILARITY, compared)]),
        l2=read_json(folder / "l2.json"),
        runs=records,
    )


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all frames. Those without rows are left out, because their columns have no types."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def mean_of_runs(rows: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """One row for each combination of `keys`: the mean over runs and seeds of each of `values`."""
    return rows.groupby(list(keys), sort=False, dropna=False)[list(values)].mean().reset_index()


def at_final_rate(layers: pd.DataFrame) -> pd.DataFrame:
    """The points of every epoch at the learning rate and l2 of the final curves; either may be missing."""
    keys = ["model", "protocol", "reading", "learning_rate", "l2"]
    return layers.merge(layers.loc[layers["final"], keys].drop_duplicates())


def single_runs(layers: pd.DataFrame) -> pd.DataFrame:
    """The final points of each run and seed, of the probes' curves that have several; a column `single` names them."""
    rows = of_readings(layers[layers["final"]], "probe")
    names = [run if pd.isna(seed) else f"{run}, seed {seed:g}" for run, seed in rows[["run", "seed"]].to_numpy()]
    rows = rows.assign(single=names)
    return rows[rows.groupby(["model", "protocol"])["single"].transform("nunique") > 1]


def runs_note(results: Results) -> str:
    """Which curves are means of several runs, to end a caption."""
    several = {model: len(runs) for model, runs in results.runs.items() if len(runs) > 1}
    return "".join(f"; {model}: mean of {count} runs" for model, count in several.items())


def of_readings(rows: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """The rows of some kinds of reading: of the probes, or also of the own head, the point beside their curve."""
    return rows[rows["reading"].isin(kinds)]


def no_answer_score(layers: pd.DataFrame) -> float:
    """What always answering "no answer" scores, in percent: exact and F1 alike."""
    return float(100 * layers["NoAns_total"].fillna(0).iloc[0] / layers["total"].iloc[0])


def counts_note(layers: pd.DataFrame) -> str:
    """How many questions of each kind the scores are of, in words."""
    total, no_answer = layers[["total", "NoAns_total"]].fillna(0).iloc[0].astype(int)
    return f"{total:,} questions: {total - no_answer:,} HasAns, {no_answer:,} NoAns"

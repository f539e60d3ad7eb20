"""The points of a model's curves: the official metric of every reading, and what is short enough to print of them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from stages.qa.answering.answers import Answers
from stages.qa.data.squad import Example
from stages.qa.errors import InputError
from stages.qa.metric import official_metrics
from stages.qa.progress import progress_bar
from stages.qa.readings import is_final, reading_columns
from stages.qa.scoring.intervals import Resampled

# *_total: numbers of questions; *_thresh: probabilities of no answer; all other scores: percent
SCORES = ["total", "exact", "f1", "HasAns_total", "HasAns_exact", "HasAns_f1", "NoAns_total", "NoAns_exact", "NoAns_f1"]
SCORES += ["forced_exact", "forced_f1", "best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
LAYERS = ["model", "protocol", "headline", "run", "reading", "epoch", "layer", "learning_rate", "seed", "l2", "final"]
LAYERS += SCORES
PROBE_LOSS = ["layer", "learning_rate", "epoch", "step", "loss"]  # of what probe_train writes
LOSS = ["model", "layer", "epoch", "step", "loss"]


def layer_rows(
    model: str,
    examples: Sequence[Example],
    answers: Mapping[str, Mapping[str, Answers]],
    headline: str,
    l2: float | None = None,
) -> pd.DataFrame:
    """A row of LAYERS for each reading of each run under each protocol; `answers`: protocol -> run -> answers.

    final: the row belongs to the final curves (see `is_final`; l2 is the study's). forced_*: questions that have an
    answer, answered by the best span whatever the null score. best_*: at the official best threshold over the
    probabilities of no answer.
    Scores of a group without questions are missing. Raises InputError if the answers are not to these questions.
    """
    ids = [example.id for example in examples]
    all_answers = [(protocol, run, given) for protocol, runs in answers.items() for run, given in runs.items()]
    if any(given.ids != ids for _, _, given in all_answers):
        raise InputError(f"{model}: the answers are not those of this dev file; run predict again")
    rows = []
    total = sum(len(given.readings) for _, _, given in all_answers)
    with progress_bar("scoring", total=total, unit="reading") as progress:
        for protocol, run, given in all_answers:
            names = {"model": model, "protocol": protocol, "headline": protocol == headline, "run": run}
            final = is_final(given.readings, l2)
            for row, reading in enumerate(given.readings):
                scores = reading_scores(examples, given, row)
                rows.append(names | reading_columns(reading) | {"final": final[row]} | scores)
                progress.update()
    whole_numbers = ["epoch", "seed", "total", "HasAns_total", "NoAns_total"]
    return pd.DataFrame(rows, columns=LAYERS).astype({**dict.fromkeys(whole_numbers, "Int64"), "l2": "float64"})


def reading_scores(examples: Sequence[Example], answers: Answers, row: int) -> dict[str, float]:
    """The SCORES of one reading, without those of a group that has no questions."""
    scores = official_metrics(examples, answers.final(row))
    # The best threshold is sought over all spans, refused or not, as the official script is used.
    forced = official_metrics(examples, answers.forced(row), answers.null_probabilities(row))
    scores |= {name: value for name, value in forced.items() if name.startswith("best_")}
    if "HasAns_total" in forced:
        scores |= {"forced_exact": forced["HasAns_exact"], "forced_f1": forced["HasAns_f1"]}
    return scores


def best_layer(points: pd.DataFrame) -> pd.Series:
    """The row of the highest F1, then HasAns F1, then the shallowest layer. `points` are those of one curve."""
    return points.sort_values(["f1", "HasAns_f1", "layer"], ascending=[False, False, True]).iloc[0]


def summary(layers: pd.DataFrame, curve_of: Resampled) -> dict[str, float | None]:
    """What `dvc metrics show` prints of the final headline curve: its highest and last layer, the own head, and l2.

    layers_from: the shallowest layer that cannot be told from the best, by forced F1 if there is one. `layers` has the
    columns LAYERS, and the rows of one model; `curve_of` has its probes. Percent with two decimals, mean over runs and
    seeds.
    """
    points = layers[layers["headline"] & layers["final"]]
    how = {"f1": "mean", "HasAns_f1": "mean", "forced_f1": "mean", "l2": "first"}
    points = points.groupby(["reading", "layer"]).agg(how).reset_index()
    curve, heads = points[points["reading"] == "probe"], points[points["reading"] == "head"]
    result: dict[str, float | None] = {}
    if not curve.empty:
        best, last = best_layer(curve), curve.loc[curve["layer"].idxmax()]
        metric = "forced_f1" if "forced_f1" in curve_of.values else "f1"
        result = {"layers_from": curve_of.best_layers(metric)[0]} | _short("best", best) | _short("last", last)
        result["l2"] = None if pd.isna(best["l2"]) else float(best["l2"])
    if not heads.empty:
        result |= _short("head", heads.iloc[0])
    return result


def _short(prefix: str, point: pd.Series) -> dict[str, float | None]:
    scores = {f"{prefix}_{name}": point[name] for name in ("f1", "forced_f1")}
    return {name: None if pd.isna(score) else round(float(score), 2) for name, score in scores.items()}


def loss_rows(model: str, losses: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row of LOSS for each layer and epoch: the training loss (nats) at the first learning rate, mean over all rows.

    `losses`: of each run, the columns PROBE_LOSS of every seed. No rows if the probes are a convex fit alone.
    """
    rows = pd.concat(losses, ignore_index=True)
    first = rows[rows["learning_rate"].isin(rows["learning_rate"].head(1))]
    means = first.groupby(["layer", "epoch", "step"], sort=False)["loss"].mean().round(6)
    return means.reset_index().assign(model=model)[LOSS]

"""What F1 does not tell about the final curves: likelihood, answerability, calibration, thresholds that are not tuned
on the questions they are scored on: chosen on held-out training articles, and by cross-fitting on other dev articles.
Figures are means over the seeds.
"""

from collections.abc import Mapping
from itertools import chain

import numpy as np

from stages.qa.config import Statistics
from stages.qa.errors import InputError
from stages.qa.scoring.answerability import average_precision, best_threshold, cross_fitted, reliability, roc_area
from stages.qa.scoring.question_scores import QuestionScores

# *_nll: nats, of the gold start and end; thresholds: probabilities of no answer; all other figures: percent
NLL = [f"{group}{side}_nll" for group in ("", "HasAns_", "NoAns_") for side in ("start", "end")]
ANSWERABILITY = ["auprc", "auprc_chance", "auroc", "ece"]
HELD_OUT = ["held_out_exact", "held_out_f1", "held_out_threshold"]
CROSSFIT = ["crossfit_exact", "crossfit_f1", "crossfit_threshold_low", "crossfit_threshold_high"]
BASIS = ["questions", "articles", "held_out_questions", "held_out_articles"]
QUALITY = ["model", "protocol", "reading", "layer", *BASIS, *NLL, *ANSWERABILITY, *HELD_OUT, *CROSSFIT]
RELIABILITY = ["model", "protocol", "reading", "layer", "null_probability", "no_answer_share", "questions"]
Row = dict[str, str | int | float | None]


def quality_rows(
    model: str, scored: Mapping[str, QuestionScores], held_out: Mapping[str, QuestionScores], settings: Statistics
) -> list[Row]:
    """A row under QUALITY for each protocol, reading and layer; None where there are no such questions.

    `held_out`: the held-out training questions under the same protocols and readings (InputError otherwise); empty if
    none were held out.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        counted = [(len(each.ids), len(np.unique(each.article))) for each in (scores, held_out.get(protocol)) if each]
        basis: Row = dict(zip(BASIS, [*chain(*counted), 0, 0], strict=False))
        if protocol in held_out and held_out[protocol].readings != scores.readings:
            raise InputError(f"{model}, {protocol}: dev and held-out questions were not read alike; run predict again")
        folds = fold_of(scores, settings.folds)
        points: dict[tuple[str, int], list[dict[str, float]]] = {}
        for row, reading in enumerate(scores.readings):
            point = _point(scores, row, folds, settings) | _held_out_point(scores, held_out.get(protocol), row)
            points.setdefault((reading.kind, reading.layer), []).append(point)
        for (kind, layer), seeds in points.items():
            means = {name: np.mean([point[name] for point in seeds]) for name in seeds[0]}
            rounded: Row = {name: None if np.isnan(value) else round(float(value), 5) for name, value in means.items()}
            names: Row = {"model": model, "protocol": protocol, "reading": kind, "layer": layer}
            rows.append(names | basis | rounded)
    return rows


def reliability_rows(model: str, scored: Mapping[str, QuestionScores], settings: Statistics) -> list[Row]:
    """A row under RELIABILITY for each bin with questions of each protocol, reading and layer; the first seed only."""
    rows: list[Row] = []
    for protocol, scores in scored.items():
        firsts: dict[tuple[str, int], int] = {}
        for row, reading in enumerate(scores.readings):
            firsts.setdefault((reading.kind, reading.layer), row)
        for (kind, layer), row in firsts.items():
            bins = reliability(~scores.answerable, scores.null_probability[row], bins=settings.calibration_bins)
            names: Row = {"model": model, "protocol": protocol, "reading": kind, "layer": layer}
            for mean, share, number in zip(bins.mean, bins.share, bins.questions, strict=True):
                values: Row = {
                    "null_probability": round(float(mean), 5),
                    "no_answer_share": round(float(share), 5),
                }
                rows.append(names | values | {"questions": int(number)})
    return rows


def fold_of(scores: QuestionScores, folds: int) -> np.ndarray:
    """The fold of each question, (questions,): articles in turn; paragraphs if there are fewer articles than folds."""
    articles, paragraphs = (np.unique(each, return_inverse=True)[1] for each in (scores.article, scores.paragraph))
    return (articles if articles.max() + 1 >= folds else paragraphs) % folds


def _point(scores: QuestionScores, row: int, folds: np.ndarray, settings: Statistics) -> dict[str, float]:
    has_answer, no_answer = scores.answerable, scores.null_probability[row]
    point: dict[str, float] = {}
    for group, chosen in ("", np.ones_like(has_answer)), ("HasAns_", has_answer), ("NoAns_", ~has_answer):
        for side in ("start", "end"):
            values = getattr(scores, f"{side}_nll")[row, chosen]
            known = values[~np.isnan(values)]  # an answer without a token has none
            point[f"{group}{side}_nll"] = known.mean() if len(known) else np.nan
    point["auprc"] = 100 * average_precision(has_answer, -no_answer)
    point["auprc_chance"] = 100 * has_answer.mean()
    point["auroc"] = 100 * roc_area(has_answer, -no_answer)
    point["ece"] = 100 * reliability(~has_answer, no_answer, bins=settings.calibration_bins).error
    thresholds = [np.nan]
    for metric in ("exact", "f1"):
        forced, refused = getattr(scores, f"forced_{metric}")[row], (~has_answer).astype(float)
        if len(np.unique(folds)) > 1:
            scored, thresholds = cross_fitted(forced, refused, no_answer, folds)
            point[f"crossfit_{metric}"] = 100 * scored.mean()
        else:
            point[f"crossfit_{metric}"] = np.nan
    # of F1; outside 0 to 1 all questions are answered or refused
    point["crossfit_threshold_low"], point["crossfit_threshold_high"] = np.clip(
        (min(thresholds), max(thresholds)), 0, 1
    )
    return point


def _held_out_point(scores: QuestionScores, held_out: QuestionScores | None, row: int) -> dict[str, float]:
    """The scores of one reading at the thresholds that are best on the held-out questions; NaN if there are none."""
    if held_out is None:
        return dict.fromkeys(HELD_OUT, np.nan)
    point: dict[str, float] = {}
    for metric in ("exact", "f1"):
        answered, probability = getattr(held_out, f"forced_{metric}")[row], held_out.null_probability[row]
        threshold = best_threshold(answered, (~held_out.answerable).astype(float), probability)
        refused = scores.null_probability[row] > threshold
        given = np.where(refused, ~scores.answerable, getattr(scores, f"forced_{metric}")[row])
        point[f"held_out_{metric}"] = 100 * given.mean()
    point["held_out_threshold"] = np.clip(threshold, 0, 1)  # of F1; outside 0 to 1 all are answered or refused
    return point

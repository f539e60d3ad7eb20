"""What F1 does not tell about the final curves: likelihood, and how well a reading knows what has no answer."""

import numpy as np
import pandas as pd

from stages.qa.scoring.question_scores import POINT, QuestionScores, Scored, points_of
from stages.qa.sections import Statistics

# *_nll: nats, of the gold start and end; all other figures: percent
QUALITY = [*POINT, "questions", "articles", "start_nll", "end_nll", "auprc", "auprc_chance", "ece", "crossfit_f1"]


def quality_rows(model: str, scored: Scored, headline: str, settings: Statistics) -> pd.DataFrame:
    """A row of QUALITY for each protocol, reading and layer: means over runs and seeds; missing without a question."""
    rows = []
    for names, scores, rows_of_point in points_of(model, scored, headline):
        folds = folds_of(scores, settings.folds)
        figures = pd.DataFrame([_figures(scores, row, folds, settings.calibration_bins) for row in rows_of_point])
        basis = {"questions": len(scores.ids), "articles": len(np.unique(scores.article))}
        rows.append(names | basis | figures.mean(skipna=False).round(5).to_dict())
    return pd.DataFrame(rows, columns=QUALITY)


def folds_of(scores: QuestionScores, folds: int) -> np.ndarray:
    """The fold of each question, (questions,): articles in turn; paragraphs if there are fewer articles than folds."""
    few = len(np.unique(scores.article)) < folds
    _, clusters = np.unique(scores.paragraph if few else scores.article, return_inverse=True)
    return clusters % folds


def _figures(scores: QuestionScores, row: int, folds: np.ndarray, bins: int) -> dict[str, float]:
    """The columns of numbers of one reading; NaN where no question counts."""
    has_answer, no_answer = scores.answerable, scores.null_probability[row]
    # pandas leaves NaN out: a gold answer without a token has no likelihood
    figures = {name: float(pd.Series(getattr(scores, name)[row]).mean()) for name in ("start_nll", "end_nll")}
    figures["auprc"] = 100 * average_precision(has_answer, -no_answer)
    figures["auprc_chance"] = 100 * has_answer.mean()
    figures["ece"] = 100 * calibration_error(~has_answer, no_answer, bins=bins)
    figures["crossfit_f1"] = np.nan
    if len(np.unique(folds)) > 1:
        refused = (~has_answer).astype(float)
        figures["crossfit_f1"] = 100 * cross_fitted(scores.forced_f1[row], refused, no_answer, folds).mean()
    return figures


def average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the steps of the precision-recall curve, 0 to 1; NaN without a positive.

    positive (n,) bool; score (n,): higher for positives. Questions with equal scores enter together. By chance, it is
    the share of positives. The official script calls it pr_oracle_ap (for ties: Davis and Goadrich 2006).
    """
    if not positive.any():
        return float("nan")
    _, place = np.unique(-score, return_inverse=True)
    questions = np.cumsum(np.bincount(place))
    positives = np.cumsum(np.bincount(place, positive))
    steps = np.diff(positives, prepend=0)
    return float(np.sum(steps * positives / questions) / positive.sum())


def calibration_error(true: np.ndarray, probability: np.ndarray, *, bins: int) -> float:
    """Expected calibration error of `probability` (n,) of what is `true` (n,) bool, 0 to 1 (Naeini et al. 2015).

    The distance of the mean probability from the share that came true, over bins of equal width weighted by their
    questions. A bin holds its upper edge, and the first also holds 0.
    """
    place = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    questions = np.bincount(place, minlength=bins)
    used = questions > 0
    mean = np.bincount(place, probability, minlength=bins)[used] / questions[used]
    share = np.bincount(place, true, minlength=bins)[used] / questions[used]
    return float(np.sum(np.abs(mean - share) * questions[used]) / questions[used].sum())


def best_threshold(answered: np.ndarray, refused: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the highest total. Questions with a probability of no answer above it are refused.

    answered, refused (n,): the score of each question if it is answered or refused. The threshold is the middle between
    two probabilities, or -inf to refuse all. Of equal totals the lowest threshold, as in the official script.
    """
    levels, place = np.unique(probability, return_inverse=True)
    totals = np.append(0.0, np.cumsum(np.bincount(place, answered - refused)))
    thresholds = [-np.inf, *(levels[:-1] + levels[1:]) / 2, levels[-1]]
    return float(thresholds[totals.argmax()])


def cross_fitted(answered: np.ndarray, refused: np.ndarray, probability: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Scores (n,) at thresholds that are chosen on the other folds.

    folds (n,): equal numbers mean the same fold. By cross-fitting (Stone 1974), no question helps to choose the
    threshold at which it is scored.
    """
    scores = np.empty(len(folds))
    for fold in np.unique(folds):
        inside = folds == fold
        threshold = best_threshold(answered[~inside], refused[~inside], probability[~inside])
        scores[inside] = np.where(probability[inside] > threshold, refused[inside], answered[inside])
    return scores

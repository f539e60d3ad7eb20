"""How well the probability of no answer tells whether a question has one: ranking, calibration, thresholds.

The probability is the logistic function of null score less best span score: an order first of all, a probability only
as far as its calibration shows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


def average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the steps of the precision-recall curve, 0 to 1; NaN without a positive.

    positive (n,) bool; score (n,): higher for positives. Questions of equal score enter together. By chance it is the
    share of positives. It is what the official script calls pr_oracle_ap (for ties: Davis and Goadrich 2006).
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the last question of each score
    found = np.cumsum(positive[order])[last]
    return float(np.sum(np.diff(found, prepend=0) * found / (last + 1)) / positive.sum())


def roc_area(positive: np.ndarray, score: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half (Hanley and McNeil 1982), 0 to 1; 0.5 by chance.

    Arguments as in `average_precision`; NaN if one kind is missing.
    """
    ours, theirs = int(positive.sum()), int((~positive).sum())
    if not ours or not theirs:
        return float("nan")
    return float((rankdata(score)[positive].sum() - ours * (ours + 1) / 2) / (ours * theirs))


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over a probability, empty ones left out; (bins,) each."""

    mean: np.ndarray  # of the probability
    share: np.ndarray  # of the questions for which it came true
    questions: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: |mean - share|, weighted by the questions (Naeini et al. 2015), 0 to 1."""
        return float(np.sum(np.abs(self.mean - self.share) * self.questions) / self.questions.sum())


def reliability(true: np.ndarray, probability: np.ndarray, *, bins: int) -> Reliability:
    """true (n,) bool: what `probability` (n,) foretold came true. A bin holds its upper edge, the first one 0 too."""
    place = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    questions = np.bincount(place, minlength=bins)
    some = questions > 0
    mean, share = (np.bincount(place, values, minlength=bins)[some] / questions[some] for values in (probability, true))
    return Reliability(mean, share, questions[some])


def best_threshold(answered: np.ndarray, refused: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the highest total; questions whose probability of no answer is above it are refused.

    answered, refused (n,): the score of each question if it is answered or refused. Between two probabilities the
    middle is taken; -inf refuses all. Of equal totals the lowest threshold, as in the official script.
    """
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    totals = np.append(0.0, np.cumsum((answered - refused)[order]))
    above = np.append(ranked, np.inf)
    below = np.append(-np.inf, ranked)
    totals[above == below] = -np.inf  # no threshold parts equal probabilities
    best = int(totals.argmax())
    if best in (0, len(ranked)):
        return float(below[best])
    return float((below[best] + above[best]) / 2)


def cross_fitted(
    answered: np.ndarray, refused: np.ndarray, probability: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, list[float]]:
    """Scores (n,) under thresholds chosen on the other folds, and the thresholds in order of the folds.

    folds (n,): equal numbers mean the same fold. Cross-fitting, as by Stone (1974): no question has a say in the
    threshold that it is scored under.
    """
    scores, thresholds = np.empty(len(folds)), []
    for fold in np.unique(folds):
        mine = folds == fold
        thresholds.append(best_threshold(answered[~mine], refused[~mine], probability[~mine]))
        scores[mine] = np.where(probability[mine] > thresholds[-1], refused[mine], answered[mine])
    return scores, thresholds

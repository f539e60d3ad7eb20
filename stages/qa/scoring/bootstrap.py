"""Confidence intervals by the bootstrap over clusters of questions: of scores, of differences, of whole curves.

Questions of one article, or of one paragraph, are not independent. So whole clusters are drawn with replacement
(Davison and Hinkley 1997, section 3.8; Cameron, Gelbach and Miller 2008). Every score is a ratio: a sum over questions
divided by a number of questions. A resample computes both again (Cochran 1977, chapter 6). All layers, metrics and
models of a data set share the same draws, so that their differences are paired.

The interval of one point is the percentile interval, expanded for few clusters (Hesterberg 2015, The American
Statistician 69): its tails are those of Student's t with clusters - 1 degrees of freedom and the unbiased variance.

The band of a curve is the estimate plus and minus a multiple of its standard error. All points share the multiple: in
the wanted share of the resamples it is at least the largest |t| of the points (Romano and Wolf 2005; Montiel Olea and
Plagborg-Møller 2019). Each resample has its own standard errors. Without them, a band from 16 clusters covers much less
than it says.

Near 0 and 100 % the resamples know too little: where all questions score 0, every resample does. So the standard error
of a ratio is never below that of a count of UNSEEN questions. No interval is without width, and a layer near the floor,
whose errors vanish in many resamples, does not widen the band of all others.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtrit

Unit = Literal["article", "paragraph"]
UNSEEN = 3.0  # questions: with none among n, a rate of up to about 3/n is possible at 95 %
FEW_ARTICLES = 8  # with fewer, draws of articles repeat too often to say anything


@dataclass(frozen=True)
class Bounds:
    """Interval and band of the points of one curve, (points,) float64 each.

    All but the estimates are NaN if there are fewer than two clusters.
    """

    estimate: np.ndarray
    low: np.ndarray  # the interval of each point alone
    high: np.ndarray
    band_low: np.ndarray  # the band that covers all points at once
    band_high: np.ndarray


def unit_of(articles: int, wanted: Literal["article", "paragraph", "auto"]) -> Unit:
    """What to draw; auto: articles, or paragraphs if the articles are fewer than FEW_ARTICLES."""
    if wanted != "auto":
        return wanted
    return "article" if articles >= FEW_ARTICLES else "paragraph"


def draw(clusters: int, *, resamples: int, seed: int) -> np.ndarray:
    """How often each resample draws each cluster, (resamples, clusters) float64; the same for the same arguments."""
    if clusters < 2:
        return np.ones((1, clusters))
    drawn = np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))
    counts = [np.bincount(row, minlength=clusters) for row in drawn]
    return np.array(counts, dtype=np.float64)


def bounds(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray, *, confidence: float) -> Bounds:
    """Interval and band of the points of one curve of ratios, or of differences between two such curves.

    counts (resamples, clusters): from `draw`. sums (points, clusters): of the scores of a cluster's questions; for
    two curves over the same questions, the differences of their sums. numbers (clusters,): of questions. Resamples
    without a question are left out.
    """
    clusters = len(numbers)
    estimate = sums.sum(axis=1) / numbers.sum()
    if clusters < 2:
        nothing = np.full_like(estimate, np.nan)
        return Bounds(estimate, nothing, nothing, nothing, nothing)
    counts = counts[counts @ numbers > 0]
    resampled = ratios(counts, sums, numbers)
    low, high = np.quantile(resampled, tails(clusters, confidence), axis=0)
    least = unseen_reach(clusters, numbers.sum(), confidence)
    low, high = np.minimum(low, estimate - least), np.maximum(high, estimate + least)
    error = standard_errors(np.ones((1, clusters)), sums, numbers)[0]
    t_sizes = np.abs(resampled - estimate) / standard_errors(counts, sums, numbers)
    reach = np.quantile(t_sizes.max(axis=1), confidence) * error
    return Bounds(estimate, low, high, np.minimum(estimate - reach, low), np.maximum(estimate + reach, high))


def unseen_reach(clusters: int, questions: float, confidence: float) -> float:
    """The least distance of a bound from a ratio of so many questions: that of a count of UNSEEN questions."""
    return float(stdtrit(clusters - 1, (1 + confidence) / 2)) * sqrt(UNSEEN) / questions


def tails(clusters: int, confidence: float) -> tuple[float, float]:
    """The two quantiles of resamples that bound an interval, expanded for few clusters."""
    tail = float(ndtr(-sqrt(clusters / (clusters - 1)) * stdtrit(clusters - 1, (1 + confidence) / 2)))
    return tail, 1 - tail


def ratios(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The ratio of each point in each resample, (resamples, points); arguments as in `bounds`."""
    return (counts @ sums.T) / (counts @ numbers)[:, None]


def standard_errors(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Standard error of the ratio of each point in each resample, (resamples, points); arguments as in `bounds`.

    By linearisation: the error of the sum of the clusters' residuals, sum - ratio * number (Cochran 1977, section 6.3);
    and that of UNSEEN questions.
    """
    clusters = len(numbers)
    ratio = ratios(counts, sums, numbers)
    # the squared residuals, multiplied out, so that no array of (resamples, points, clusters) is needed
    squares = counts @ (sums**2).T - 2 * ratio * (counts @ (sums * numbers).T)
    squares += ratio**2 * (counts @ numbers**2)[:, None]
    return np.sqrt(np.maximum(squares, 0) * clusters / (clusters - 1) + UNSEEN) / (counts @ numbers)[:, None]

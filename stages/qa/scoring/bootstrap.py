"""Confidence intervals by the bootstrap over clusters of questions: a score's own, a difference's, a whole curve's.

Questions of one article, or of one paragraph, are not independent, so whole clusters are drawn with replacement
(Davison and Hinkley 1997, section 3.8; Cameron, Gelbach and Miller 2008). Every score is a ratio, a sum over questions
divided by a number of questions, and a resample recomputes both (Cochran 1977, chapter 6). One matrix of draws serves
all layers, metrics and models of a data set, so that their differences are paired.

Interval of one point: the percentile interval, expanded for few clusters as by Hesterberg (2015, The American
Statistician 69): its tails are cut where Student's t with clusters - 1 degrees of freedom and the unbiased variance
would cut them. Band of a curve: the estimate plus and minus a multiple of its standard error, the same multiple for all
points, so large that it covers the largest |t| of a resample's points in the wanted share of the resamples (Romano and
Wolf 2005; Montiel Olea and Plagborg-Møller 2019). Each resample has its own standard errors: without that, a band from
16 clusters covers much less than it says.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from scipy.stats import norm, t

Unit = Literal["article", "paragraph"]
MANY_ARTICLES = 30  # from here on intervals rest on articles alone
FEW_ARTICLES = 8  # below it the draws of articles repeat themselves too often to say anything


@dataclass(frozen=True)
class Bounds:
    """Of the points of one curve, (points,) float64 each; NaN where there are fewer than two clusters."""

    estimate: np.ndarray
    low: np.ndarray  # of the interval of each point alone
    high: np.ndarray
    band_low: np.ndarray  # of the band that covers all points at once
    band_high: np.ndarray


def units(articles: int, wanted: Literal["article", "paragraph", "auto"]) -> list[Unit]:
    """The clusters to draw, the one that figures show first.

    auto: articles; paragraphs beside them where articles are fewer than MANY_ARTICLES, and in their place where they
    are fewer than FEW_ARTICLES.
    """
    if wanted != "auto":
        return [wanted]
    if articles < FEW_ARTICLES:
        return ["paragraph"]
    return ["article"] if articles >= MANY_ARTICLES else ["article", "paragraph"]


def draw(clusters: int, *, resamples: int, seed: int) -> np.ndarray:
    """How often each resample draws each cluster, (resamples, clusters) float64; the same for the same arguments."""
    if clusters < 2:
        return np.ones((1, clusters))
    drawn = np.random.default_rng(seed).integers(clusters, size=(resamples, clusters))
    drawn += clusters * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    return counts.reshape(resamples, clusters).astype(np.float64)


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """values (points, questions) summed over the questions of each cluster, (points, clusters).

    clusters (questions,): 0 to their number - 1.
    """
    number = int(clusters.max()) + 1
    return np.stack([np.bincount(clusters, row, minlength=number) for row in values])


def bounds(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray, *, confidence: float) -> Bounds:
    """Interval of each point and band of all points of one curve of ratios, or of differences between two such curves.

    counts (resamples, clusters): of `draw`; sums (points, clusters): over the questions of each cluster; numbers
    (clusters,): of questions. A difference of two curves over the same questions has the difference of their sums. A
    resample without a question is left out.
    """
    estimate, clusters = sums.sum(axis=1) / numbers.sum(), len(numbers)
    if clusters < 2:
        nothing = np.full_like(estimate, np.nan)
        return Bounds(estimate, nothing, nothing, nothing, nothing)
    counts = counts[counts @ numbers > 0]
    resampled = ratios(counts, sums, numbers)
    tail = norm.cdf(-sqrt(clusters / (clusters - 1)) * t.ppf((1 + confidence) / 2, clusters - 1))
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    error = standard_errors(np.ones((1, clusters)), sums, numbers)[0]
    errors = standard_errors(counts, sums, numbers)
    # a resample that drew only clusters with one and the same score has no standard error, and no |t|
    known = errors > 1e-6 * error
    size = np.divide(np.abs(resampled - estimate), errors, out=np.zeros_like(errors), where=known)
    reach = np.quantile(size.max(axis=1), confidence) * error
    return Bounds(estimate, low, high, np.minimum(estimate - reach, low), np.maximum(estimate + reach, high))


def ratios(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The ratio of each point in each resample, (resamples, points); arguments as in `bounds`."""
    return (counts @ sums.T) / (counts @ numbers)[:, None]


def standard_errors(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Standard error of the ratio of each point in each resample, (resamples, points); arguments as in `bounds`.

    By linearisation: the error of a sum of the clusters' residuals, sum - ratio * number (Cochran 1977, section 6.3).
    """
    clusters, ratio = len(numbers), ratios(counts, sums, numbers)
    squares = counts @ (sums**2).T - 2 * ratio * (counts @ (sums * numbers).T)
    squares += ratio**2 * (counts @ numbers**2)[:, None]
    return np.sqrt(np.maximum(squares, 0) * clusters / (clusters - 1)) / (counts @ numbers)[:, None]

"""What else a curve could have been: its points in many resamples of articles, of runs and of unseen questions.

A point is a mean over runs (of fine-tuning, or of random weights) of a ratio: a sum over questions divided by their
number. docs/statistics.md says what is drawn and why (after Sellam et al. 2022), and how often the intervals hold. All
curves over the same questions share the draws of articles, so that their differences are paired. Each model has its own
draws of runs.
"""

from functools import cache
from math import sqrt
from typing import Literal
from zlib import crc32

import numpy as np

Unit = Literal["article", "paragraph"]
UNSEEN = 3.0  # questions: with none among n, a rate of up to about 3/n is possible at 95 %
FEW_ARTICLES = 8  # with fewer, draws of articles repeat too often to say anything


def unit_of(articles: int, wanted: Literal["article", "paragraph", "auto"]) -> Unit:
    """What to draw; auto: articles, or paragraphs if the articles are fewer than FEW_ARTICLES."""
    if wanted != "auto":
        return wanted
    return "article" if articles >= FEW_ARTICLES else "paragraph"


def resample(sums: np.ndarray, numbers: np.ndarray, resamples: int, *, seed: int, key: str) -> np.ndarray:
    """The points of a curve of ratios, (1 + resamples, points): as they are, then in each resample.

    sums (runs, points, clusters): of the scores of a cluster's questions. numbers (clusters,): of questions. key: the
    model, which shares its draws of runs between all its curves. One row alone if there are fewer than two clusters.
    Resamples without a question are left out.
    """
    total, clusters = numbers.sum(), len(numbers)
    of_runs = sums.sum(axis=2) / total  # (runs, points)
    estimate = of_runs.mean(axis=0)
    if clusters < 2:
        return estimate[None]
    counts, stretch = draw_clusters(clusters, resamples, seed)
    own = np.random.default_rng([seed, crc32(key.encode())])
    values = estimate + draw_runs(own, len(of_runs), resamples) @ of_runs
    unseen = own.normal(size=values.shape) * sqrt(UNSEEN) / total
    drawn = counts @ numbers  # questions of each resample
    counts, stretch, values, unseen, drawn = (part[drawn > 0] for part in (counts, stretch, values, unseen, drawn))
    ratios = counts @ sums.mean(axis=0).T / drawn[:, None]
    values += stretch[:, None] * (ratios - estimate + unseen)
    return np.concatenate([estimate[None], values])


@cache
def draw_clusters(clusters: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample draws each cluster, (resamples, clusters), and its stretch, (resamples,)."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(np.float64)
    # Student's t is a normal variable over the root of chi-squared / degrees of freedom; a resample of n clusters has
    # (n - 1) / n of the variance.
    freedom = (clusters - 1) / 2
    return counts, np.sqrt(clusters / (clusters - 1) * freedom / generator.chisquare(freedom, resamples))


def draw_runs(generator: np.random.Generator, runs: int, resamples: int) -> np.ndarray:
    """Weights (resamples, runs) that sum to 0: times the runs' scores, they move the mean by t times its error."""
    if runs == 1:
        return np.zeros((resamples, 1))
    normal = generator.normal(size=(resamples, runs))
    deviations = normal - normal.mean(axis=1, keepdims=True)
    return deviations / np.sqrt(runs * generator.chisquare(runs - 1, resamples))[:, None]


def interval(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bound of each point alone, (points,); values as from `resample`. NaN without resamples."""
    return _quantiles(values, (1 - confidence) / 2)


def band(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds, (points,), that hold for all points at once. NaN without resamples.

    Every point is cut at the same quantile, the largest for which the wanted share of resamples lies between the bounds
    at all points (Montiel Olea and Plagborg-Møller 2019).
    """
    resamples = values[1:, np.ptp(values, axis=0) > 0]
    if not resamples.size:
        return _quantiles(values, 0.0)
    ranks = resamples.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / (len(resamples) - 1)
    depth = np.minimum(ranks, 1 - ranks).min(axis=1)  # how far from the edge each resample lies where it is outermost
    return _quantiles(values, min(np.quantile(depth, 1 - confidence), (1 - confidence) / 2))


def _quantiles(values: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    if len(values) == 1:
        return np.full_like(values[0], np.nan), np.full_like(values[0], np.nan)
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0)
    return low, high

"""Any function of a model's curves, with an interval: the curves as they are in every resample of the questions.

A function is taken of the real curves and of those of each resample. All models of a data set share the draws, so that
a function of two models is paired. `resampled` alone knows what is drawn: several runs are one more draw there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import ndtri, stdtrit

from stages.qa.scoring.bootstrap import UNSEEN, tails, unseen_reach
from stages.qa.scoring.intervals import curves_of, drawn
from stages.qa.scoring.question_scores import QuestionScores, load_question_scores
from stages.qa.sections import Statistics


@dataclass(frozen=True)
class Interval:
    """A quantity in percent or points."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """One decimal; without brackets where nothing was resampled."""
        bounds = "" if self.low == self.high else f" ({self.low:.1f} to {self.high:.1f})"
        return f"{self.estimate:.1f}{bounds}"


@dataclass(frozen=True)
class Resampled:
    """The curves of one model under one protocol: of the real questions, then of each resample."""

    layers: list[int]
    values: Mapping[str, np.ndarray]  # metric -> (1 + resamples, layers), percent; one row: nothing was resampled
    questions: Mapping[str, int]  # metric -> how many it is a mean of
    clusters: int  # that were drawn
    confidence: float

    def of_layers(self, first: int) -> "Resampled":
        """The layers from `first` on."""
        kept = [place for place, layer in enumerate(self.layers) if layer >= first]
        values = {metric: curve[:, kept] for metric, curve in self.values.items()}
        return replace(self, layers=[self.layers[place] for place in kept], values=values)

    def interval(self, values: np.ndarray, metric: str, *, lowest: float = -100.0) -> Interval:
        """Of a function of the curves of `metric`, (1 + resamples,), by percentiles as in `bootstrap.bounds`.

        The bounds are cut to `lowest` (0 for a score) to 100.
        """
        estimate = float(values[0])
        if len(values) == 1:
            return Interval(estimate, estimate, estimate)
        low, high = np.nanquantile(values[1:], tails(self.clusters, self.confidence))
        least = 100 * unseen_reach(self.clusters, self.questions[metric], self.confidence)
        return Interval(estimate, max(min(low, estimate - least), lowest), min(max(high, estimate + least), 100.0))

    def pairs(self, values: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of each layer less each other, (layers, layers), which hold for all pairs at once.

        values (1 + resamples, layers). The largest |t| of all pairs bounds them (Tukey), widened for few clusters. So
        the highest bounds are an interval of the range of the curve, and a layer is told from the best where a lower
        bound above 0 stands in its column (Hsu 1996).
        """
        differences = values[:, :, None] - values[:, None, :]
        estimate, resamples = differences[0], differences[1:]
        if not len(resamples):
            return estimate, estimate
        error = np.hypot(np.nanstd(resamples, axis=0), self._unseen(metric))
        sizes = np.nanmax(np.abs(resamples - estimate) / error, axis=(1, 2))
        tail = (1 + self.confidence) / 2
        few = stdtrit(self.clusters - 1, tail) / ndtri(tail) * np.sqrt(self.clusters / (self.clusters - 1))
        reach = few * np.nanquantile(sizes, self.confidence) * error
        return estimate - reach, estimate + reach

    def best_layers(self, metric: str) -> list[int]:
        """The layers that cannot be told from the best one."""
        low, _ = self.pairs(self.values[metric], metric)
        worse: np.ndarray = np.any(low > 0, axis=0)
        return [layer for place, layer in enumerate(self.layers) if not worse[place]]

    def _unseen(self, metric: str) -> float:
        """The least standard error, in percent."""
        return float(100 * np.sqrt(UNSEEN) / self.questions[metric])


def load_resampled(
    folder: Path, models: Sequence[str], protocols: Sequence[str], settings: Statistics
) -> dict[tuple[str, str], Resampled]:
    """Model and protocol -> the curves of the scores in FOLDER/<model>/<protocol>."""
    keys = product(models, protocols)
    return {key: resampled(load_question_scores(folder.joinpath(*key)), settings) for key in keys}


def resampled(scores: QuestionScores, settings: Statistics) -> Resampled:
    """The curves of the probes, without the metrics that have no questions; no layers without probes.

    With one article and paragraph there is nothing to draw from, and no resample.
    """
    curves = [curve for curve in curves_of(scores, "probe", settings) if curve.sums and curve.questions.any()]
    layers, clusters = (list(curves[0].sums), len(curves[0].questions)) if curves else ([], 1)
    counts = np.ones((1, clusters))
    if clusters > 1:
        counts = np.concatenate([counts, drawn(clusters, settings.resamples, settings.seed)])
    values = {}
    for curve in curves:
        numbers = counts @ curve.questions
        sums = counts @ np.stack(list(curve.sums.values())).T
        values[curve.metric] = 100 * sums / np.where(numbers > 0, numbers, np.nan)[:, None]
    questions = {curve.metric: int(curve.questions.sum()) for curve in curves}
    return Resampled(layers, values, questions, clusters, settings.confidence)

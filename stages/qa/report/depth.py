"""Where in depth a task is solved, in one number (Tenney, Das and Pavlick 2019). Unit: layers."""

from collections.abc import Sequence

import numpy as np


def centre_of_gravity(weights: Sequence[float] | np.ndarray) -> float:
    """Centre of gravity: the mean layer under the weights (layers,) of the scalar mix of all layers."""
    weights = np.asarray(weights, dtype=np.float64)
    return float((np.arange(len(weights)) * weights).sum() / weights.sum())


def expected_layer(scores: Sequence[float] | np.ndarray) -> float:
    """Mean layer under the gains scores[l] - scores[l - 1], l >= 1; scores[l] is that of the mix of layers 0 to l.

    Not-a-number if the gains sum to nothing or to a loss. A loss on the way counts with its sign, as in Tenney et al.:
    the value can then lie outside the layers.
    """
    gains = np.diff(np.asarray(scores, dtype=np.float64))
    total = gains.sum()
    return float((np.arange(1, len(gains) + 1) * gains).sum() / total) if total > 0 else float("nan")

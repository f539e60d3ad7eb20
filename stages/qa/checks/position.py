"""The control that sees no word: a score for each position in the window, and for each position in the context.

The score of a token is a[place in the window] + b[place in the context], b for context tokens only. Fitted to the
training windows' targets at the optimum of the mean cross-entropy plus a small ridge, by torch's L-BFGS: a convex
problem, so the control is as strong as its form allows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.qa.data.windows import IGNORED, Windows
from stages.qa.probing.probes import target_log_probabilities

RIDGE = 1e-4  # of half the squared norm: places that training hardly has stay near 0
STEPS = 100


@dataclass(frozen=True)
class PositionScores:
    """The fitted scores; places beyond the longest training window score 0."""

    window: Tensor  # (places, 2)
    context: Tensor  # (places + 1, 2); the last: outside the context

    def logits(self, windows: Windows, rows: np.ndarray) -> Tensor:
        """Scores (1, tokens, 2) of the windows `rows`, packed in their order."""
        longest = len(self.window)
        place, inside = _places(windows, rows)
        window = self.window[place.clamp(max=longest - 1)].masked_fill((place >= longest)[:, None], 0)
        context = self.context[inside.clamp(max=longest)].masked_fill((inside >= longest)[:, None], 0)
        return (window + context)[None]


def _places(windows: Windows, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Place of each token in its window, and in the window's context, (tokens,) int64.

    Outside the context the second is -1, which as an index means the last row.
    """
    place = np.concatenate([np.arange(windows.lengths[row]) for row in rows])
    first, end = np.repeat(windows.context[rows], windows.lengths[rows], axis=0).T
    inside = np.where((place >= first) & (place < end), place - first, -1)
    return torch.from_numpy(place), torch.from_numpy(inside)


def fit_position(windows: Windows) -> PositionScores:
    """The scores at the optimum over all `windows` that have a target."""
    rows = np.flatnonzero(windows.targets[:, 0] != IGNORED)
    lengths, targets = torch.from_numpy(windows.lengths[rows]), torch.from_numpy(windows.targets[rows])
    longest = int(lengths.max())
    place, inside = _places(windows, rows)
    window = torch.zeros(longest, 2, requires_grad=True)
    context = torch.zeros(longest + 1, 2, requires_grad=True)
    solver = torch.optim.LBFGS([window, context], max_iter=STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        logits = (window[place] + context[inside])[None]
        loss = -target_log_probabilities(logits, lengths, targets[:, None]).mean()
        value = loss + RIDGE / 2 * (window.square().sum() + context.square().sum())
        value.backward()
        return value

    solver.step(objective)
    return PositionScores(window.detach(), context.detach())

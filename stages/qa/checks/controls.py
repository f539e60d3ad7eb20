"""Controls of a probe: the same probe on a task that the layer should not help with.

Selectivity of a layer is the probe's score on the task minus its score on the control (Hewitt and Liang 2019). The
controls: the question shuffled among paragraphs, or removed (what can be read from the context alone?); and position
alone, which sees no word. The score of a token under the last one is a[place in the window] + b[place in the context],
b for context tokens only: fitted to the training windows' targets at the optimum of the mean cross-entropy plus a small
ridge, by torch's L-BFGS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stages.qa.checks.judging import Judged
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.errors import InputError
from stages.qa.probing.probes import target_log_probabilities
from stages.qa.readings import CONTROLS

RIDGE = 1e-4  # of half the squared norm: places that training hardly has stay near 0
STEPS = 100  # of L-BFGS, at most
TASK = "task"  # the probe itself, trained on the sample as the controls are: what they are compared with


def shuffled_questions(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """Each question's place is taken by that of another paragraph; contexts and answers stay.

    Every question is used once. InputError if one paragraph has more than half of the questions.
    """
    paragraphs = [list(group) for _, group in groupby(range(len(examples)), key=lambda i: examples[i].paragraph)]
    shuffled = np.random.default_rng(seed).permutation(len(paragraphs))
    order = [i for paragraph in shuffled for i in paragraphs[paragraph]]
    step = max(map(len, paragraphs))  # along `order`, a step of so many always leads out of the paragraph
    if 2 * step > len(order):
        raise InputError(f"questions cannot be shuffled among paragraphs: one has {step} of {len(order)}; take more")
    result = list(examples)
    for place, i in enumerate(order):
        partner = order[(place + step) % len(order)]
        result[i] = replace(examples[i], question=examples[partner].question)
    return result


def without_questions(examples: Sequence[Example]) -> list[Example]:
    """The same with an empty question."""
    return [replace(example, question="") for example in examples]


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


def control_rows(model: str, judged: Mapping[str, Judged], training_questions: int) -> pd.DataFrame:
    """A row under CONTROLS for each control and layer; a control without layers has the same scores at each.

    forced_f1 is percent, over `questions` that have an answer; nll is nats a position. Selectivity is the task's forced
    F1 minus the control's, in points; selectivity_nats is the control's nll minus the task's, since less is better.
    """
    task = judged[TASK]
    parts = []
    for control, result in judged.items():
        f1 = np.broadcast_to(result.forced_f1, task.forced_f1.shape)
        nll = np.broadcast_to(result.nll, task.nll.shape)
        columns = {
            "model": model,
            "control": control,
            "layer": range(len(nll)),
            "training_questions": training_questions,
            "questions": result.questions,
            "forced_f1": f1,
            "nll": nll,
            "selectivity": np.nan if control == TASK else task.forced_f1 - f1,
            "selectivity_nats": np.nan if control == TASK else nll - task.nll,
        }
        parts.append(pd.DataFrame(columns, columns=CONTROLS))
    return pd.concat(parts, ignore_index=True)

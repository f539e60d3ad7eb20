"""Controls of a probe: the same probe on a task that the layer should not help with. docs/probing.md says why.

Position alone sees no word. The score of a token is a[place in the window] + b[place in the context], b for context
tokens only: fitted to the training windows' targets at the optimum of the mean cross-entropy plus a ridge, by torch's
L-BFGS.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, embedding
from transformers import AutoModel

from stages.qa.checks.judging import Judged
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.encoding.encoder import Chunk, Encoder
from stages.qa.encoding.heads import in_layer
from stages.qa.errors import InputError
from stages.qa.probing.probes import target_log_probabilities
from stages.qa.readings import CLUSTERS, CONTROLS

RIDGES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]  # of half the squared norm: places that training hardly has stay near 0
STEPS = 100  # of L-BFGS, at most
TASK = "task"  # the probe itself, trained on the sample as the controls are: what they are compared with
PRODUCTS = "question_products"
NEIGHBOURHOOD = 5  # tokens: two on each side


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
    for i, partner in zip(order, order[step:] + order[:step], strict=True):
        result[i] = replace(examples[i], question=examples[partner].question)
    return result


def word_answers(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """The same with another answer: the first word of the highest value in the context; a word keeps its value.

    InputError if a context has no word.
    """

    def value(word: re.Match[str]) -> bytes:
        return blake2b(f"{seed} {word[0].lower()}".encode(), digest_size=8).digest()

    @cache
    def answer(context: str) -> Answer:
        words = list(re.finditer(r"\w+", context))
        if not words:
            raise InputError(f"a context has no word: {context[:40]!r}")
        highest = max(words, key=value)
        return Answer(highest[0], highest.start())

    return [replace(example, answers=(answer(example.context),), is_impossible=False) for example in examples]


def random_layers(encoder: Encoder, *, seed: int) -> Encoder:
    """The encoder with newly drawn weights in its layers; all else is its own."""
    base = encoder.model.base_model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(base.config, dtype=torch.float32)
    own = {name: tensor for name, tensor in base.state_dict().items() if not in_layer(name)}
    model.load_state_dict(own, strict=False)
    return replace(encoder, model=model.eval().to(encoder.device, base.dtype), head=None, lens=None)


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
    """Place of each token in its window, and in the window's context (-1: outside), (tokens,) int64."""
    place = np.concatenate([np.arange(windows.lengths[row]) for row in rows])
    first, end = np.repeat(windows.context[rows], windows.lengths[rows], axis=0).T
    inside = np.where((place >= first) & (place < end), place - first, -1)
    return torch.from_numpy(place), torch.from_numpy(inside)


def fit_position(windows: Windows, validation: Windows | None) -> PositionScores:
    """The scores at the optimum over all `windows` that have a target, with the ridge that is best on `validation`.

    Without validation windows, with the middle one of RIDGES.
    """
    if validation is None:
        return _fit_position(windows, RIDGES[len(RIDGES) // 2])
    fits = [_fit_position(windows, ridge) for ridge in RIDGES]
    rows = np.flatnonzero(validation.targets[:, 0] != IGNORED)
    losses = [_position_loss(fit.logits(validation, rows), validation, rows) for fit in fits]
    return fits[int(torch.stack(losses).argmin())]


def _position_loss(logits: Tensor, windows: Windows, rows: np.ndarray) -> Tensor:
    """Mean cross-entropy in nats of the targets of the windows `rows`."""
    lengths, targets = torch.from_numpy(windows.lengths[rows]), torch.from_numpy(windows.targets[rows])
    return -target_log_probabilities(logits, lengths, targets[:, None]).mean()


def _fit_position(windows: Windows, ridge: float) -> PositionScores:
    rows = np.flatnonzero(windows.targets[:, 0] != IGNORED)
    longest = int(windows.lengths[rows].max())
    place, inside = _places(windows, rows)
    inside = inside % (longest + 1)  # `embedding` takes no -1, but unlike an index its gradient repeats to the bit
    window = torch.zeros(longest, 2, requires_grad=True)
    context = torch.zeros(longest + 1, 2, requires_grad=True)
    solver = torch.optim.LBFGS([window, context], max_iter=STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        loss = _position_loss((embedding(place, window) + embedding(inside, context))[None], windows, rows)
        value = loss + ridge / 2 * (window.square().sum() + context.square().sum())
        value.backward()
        return value

    solver.step(objective)
    return PositionScores(window.detach(), context.detach())


def question_products(encoder: Encoder, windows: Windows, chunk: Chunk) -> Chunk:
    """The chunk with the features [x, n * q] of each token, so that a linear score compares it with the question.

    x is the token's state; n the mean of those of its NEIGHBOURHOOD, as far as the window has it; q the mean of those
    of the window's question, its tokens outside the context but for special and unknown ones (0 without any).
    """
    states = chunk.states
    layers, tokens, hidden = states.shape
    wide = states.new_empty(layers, tokens, 2 * hidden)
    wide[..., :hidden] = states
    for row, first, end in zip(chunk.rows, chunk.starts, chunk.starts[1:], strict=False):
        ids = windows.input_ids[windows.starts[row] : windows.starts[row + 1]]
        in_question = ~np.isin(ids, encoder.tokenizer.all_special_ids)
        in_question[slice(*windows.context[row])] = False
        x = states[:, first:end].float()
        # at the ends of the window, the mean is over fewer tokens
        n = avg_pool1d(x.mT, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False).mT
        q = x[:, np.flatnonzero(in_question)].sum(1, keepdim=True) / max(in_question.sum(), 1)
        wide[:, first:end, hidden:] = n * q
    return replace(chunk, states=wide)


def control_rows(model: str, judged: Mapping[str, Judged], training_questions: int) -> pd.DataFrame:
    """A row under CONTROLS for each control and layer; a control without layers has the same scores at each.

    forced_f1 and its band: percent, over `questions` that have an answer; nll: nats a position; selectivity (Hewitt and
    Liang 2019): the task's forced F1 minus the control's, in points. PRODUCTS, which is no control, has none.
    """
    task = judged[TASK]
    parts = []
    for control, result in judged.items():
        columns = {"model": model, "control": control, "training_questions": training_questions}
        columns |= result.columns(layers=len(task.nll))
        columns["selectivity"] = np.nan if control in (TASK, PRODUCTS) else task.forced_f1 - result.forced_f1
        parts.append(pd.DataFrame(columns)[CONTROLS])
    return pd.concat(parts, ignore_index=True)


def cluster_rows(model: str, judged: Mapping[str, Judged]) -> pd.DataFrame:
    """A row under CLUSTERS for either form of the probe, layer and cluster of questions, numbered."""
    parts = []
    for control in TASK, PRODUCTS:
        sums, numbers = judged[control].sums, judged[control].numbers
        layer, cluster = np.indices(sums.shape).reshape(2, -1)
        columns = {"layer": layer, "cluster": cluster, "questions": numbers[cluster], "f1_sum": sums.ravel()}
        parts.append(pd.DataFrame(columns).assign(model=model, control=control)[CLUSTERS])
    return pd.concat(parts, ignore_index=True)

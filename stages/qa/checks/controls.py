"""Controls of a probe: the same probe on a task that the layer should not help with.

Selectivity of a layer is the probe's score on the task minus its score on the control (Hewitt and Liang 2019). The
controls: the question shuffled among paragraphs, or removed (what can be read from the context alone?); the gold span
replaced by a random one of as many tokens (what do chance and the share of "no answer" give?); and position alone
(module `position`).
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd

from stages.qa.answering.spans import question_rows
from stages.qa.checks.judging import Judged
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import IGNORED, NO_ANSWER, Windows
from stages.qa.encoding.features import Features
from stages.qa.errors import InputError

TASK = "task"  # the probe itself, trained on the sample as the controls are: what they are compared with
CONTROLS = [
    *("model", "control", "layer", "training_questions", "questions"),
    *("forced_f1", "nll", "selectivity", "selectivity_nats"),
]


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


def retargeted(features: Features, targets: np.ndarray) -> Features:
    """`features` with other targets (windows, 2); hidden states that are kept in memory are shared, not recomputed."""
    other = copy(features)
    other.windows = replace(features.windows, targets=targets)
    return other


def random_spans(windows: Windows, *, doc_stride: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each answer another span of as many tokens, drawn evenly from its context: no hidden state can tell it.

    This is the control task of Hewitt and Liang (2019) for spans. Theirs gives a word the same label everywhere, so
    that a probe can memorise it word by word; here it can only be memorised question by question.

    `windows` were made with `doc_stride`. Returns targets (windows, 2) int64 in place of windows.targets, and the
    characters of each span, (questions, 2) int64. Questions without an answer, or whose answer no window holds whole,
    keep their targets and have the characters (-1, -1).
    """
    questions = int(windows.examples[-1]) + 1
    draws = np.random.default_rng(seed).random(questions)
    targets, chars = np.array(windows.targets), np.full((questions, 2), -1)
    for question, rows in enumerate(question_rows(windows, questions)):
        gold = [target for target in windows.targets[rows].tolist() if target[0] not in (NO_ANSWER, IGNORED)]
        if not gold:
            continue
        length = gold[0][1] - gold[0][0] + 1
        sizes = np.diff(windows.context[rows])[:, 0]  # context tokens of each window
        context_tokens = doc_stride * (len(sizes) - 1) + int(sizes[-1])
        first = int(draws[question] * (context_tokens - length + 1))  # counted from the start of the context
        last = first + length - 1
        for number, row in enumerate(range(rows.start, rows.stop)):
            before = doc_stride * number  # context tokens before the window
            shift = int(windows.context[row, 0]) - before  # from a place in the context to one in the window
            holds_first, holds_last = (before <= token < before + sizes[number] for token in (first, last))
            targets[row] = (first + shift, last + shift) if holds_first and holds_last else NO_ANSWER
            if holds_first:
                chars[question, 0] = windows.offsets[windows.starts[row] + first + shift, 0]
            if holds_last:
                chars[question, 1] = windows.offsets[windows.starts[row] + last + shift, 1]
    return targets, chars


def with_answers(examples: Sequence[Example], chars: np.ndarray) -> list[Example]:
    """`examples` with the text at `chars` (questions, 2) as the one answer; (-1, -1) leaves an example as it is."""
    result = list(examples)
    for i, (start, end) in enumerate(chars.tolist()):
        if start >= 0:
            result[i] = replace(result[i], answers=(Answer(result[i].context[start:end], start),))
    return result


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

"""Likelihood of the gold spans against a softmax by hand, and gold tokens against the targets of training."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from stages.qa.answering.answering import answer
from stages.qa.answering.gold import GoldLikelihood, gold_tokens
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import IGNORED, Windows, make_windows
from stages.qa.encoding.encoder import load_encoder
from stages.qa.probing.readouts import Probes
from stages.qa.readings import Readout
from tests.answering.test_answering import SLICE
from tests.conftest import CPU, TinyModel

LONG = " ".join(f"Person {number} lived in a house." for number in range(30))


def question(id_: str, context: str, *golds: str) -> Example:
    answers = tuple(Answer(gold, context.index(gold)) for gold in golds)
    return Example(id_, "Who was it?", context, answers, not golds, article=0, paragraph=0, title="")


EXAMPLES = [
    question("one", "In 3.5 years Zoe met Al.", "3.5 years"),
    question("two", "In 3.5 years Zoe met Al.", "3.5 years", "Zoe", "3.5"),
    question("none", LONG),
    question("late", LONG, "Person 27 lived", "27"),
    question("short", "Zoe won.", "won"),
]


def gold_of(windows: Windows, examples: list[Example]) -> list[tuple[list[int], list[int]]]:
    """First and last gold tokens of each window, without what fills up the array."""
    golds = gold_tokens(windows, examples)
    return [tuple([t for t in window[:, side].tolist() if t != IGNORED] for side in (0, 1)) for window in golds]


@pytest.fixture(scope="module")
def windows(tiny_model: TinyModel) -> Windows:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    return make_windows(EXAMPLES, encoder.tokenizer, max_seq_length=40, doc_stride=10, max_query_length=10)


def test_one_answer_gives_the_targets_of_training(tiny_model: TinyModel, sample: list[Example]) -> None:
    tokenizer = load_encoder(tiny_model("bert"), device=CPU).tokenizer
    examples = [*sample[:150], *EXAMPLES]
    first = [Example(e.id, e.question, e.context, e.answers[:1], e.is_impossible, 0, 0, "") for e in examples]
    windows = make_windows(first, tokenizer, max_seq_length=50, doc_stride=12, max_query_length=20)
    assert np.bincount(windows.examples).max() > 3
    for (starts, ends), target in zip(gold_of(windows, first), windows.targets.tolist(), strict=True):
        assert ([*starts, *ends] or [IGNORED, IGNORED]) == target


def test_several_answers(windows: Windows) -> None:
    golds = gold_of(windows, EXAMPLES)
    rows = [np.flatnonzero(windows.examples == i).tolist() for i in range(len(EXAMPLES))]
    offsets = windows.offsets

    def chars(row: int, side: int) -> set[int]:
        return {int(offsets[windows.starts[row] + token, side]) for token in golds[row][side]}

    (two,) = rows[1]
    context = EXAMPLES[1].context
    assert chars(two, 0) == {context.index("3.5"), context.index("Zoe")}  # two answers begin alike
    assert chars(two, 1) == {context.index(" years"), context.index(" met"), context.index(" years") + 6}
    assert all(golds[row] == ([0], [0]) for row in rows[2])
    held = [row for row in rows[3] if golds[row] != ([0], [0])]
    assert 1 <= len(held) < len(rows[3])


def test_the_sum_over_golds_and_the_mean_over_windows(windows: Windows) -> None:
    logits = torch.randn(3, int(windows.starts[-1]), 2, generator=torch.Generator().manual_seed(0)) * 3
    likelihood = GoldLikelihood(windows, EXAMPLES, 3)
    half = len(windows) // 2
    for rows in (np.arange(half, len(windows)), np.arange(half)[::-1].copy()):
        packed = [logits[:, windows.starts[row] : windows.starts[row + 1]] for row in rows]
        likelihood.read(rows, torch.cat(packed, dim=1))
    golds = gold_of(windows, EXAMPLES)
    for question_row in range(len(EXAMPLES)):
        for side in (0, 1):
            values = []
            for row in np.flatnonzero(windows.examples == question_row):
                own = logits[1, windows.starts[row] : windows.starts[row + 1], side].double().numpy()
                values.append(-np.log(np.exp(log_softmax(own))[golds[row][side]].sum()))
            assert likelihood.of_questions()[1, question_row, side] == pytest.approx(np.mean(values), abs=1e-5)


def test_without_labels_or_tokens_there_is_none(windows: Windows, tiny_model: TinyModel) -> None:
    hidden = Example("h", "Who?", "Ann.", (), None, article=0, paragraph=0, title="")
    blank = Example("b", "Who?", "Ann won.", (Answer("", 0),), False, article=0, paragraph=0, title="")
    tokenizer = load_encoder(tiny_model("bert"), device=CPU).tokenizer
    own = make_windows([hidden, blank], tokenizer, max_seq_length=40, doc_stride=10, max_query_length=10)
    assert gold_of(own, [hidden, blank]) == [([], []), ([], [])]
    likelihood = GoldLikelihood(own, [hidden, blank], 1)
    likelihood.read(np.arange(2), torch.zeros(1, int(own.starts[-1]), 2))
    assert np.isnan(likelihood.of_questions()).all()


def test_answers_carry_it(tiny_model: TinyModel) -> None:
    """Zero probes give every token the same probability; gold spans have no likelihood."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    windows = make_windows(EXAMPLES, encoder.tokenizer, max_seq_length=40, doc_stride=10, max_query_length=10)
    readouts = [Readout("convex", None, None, None), Readout("adamw", 1, 0.1, 0)]
    weights = np.zeros((2, encoder.layers, encoder.hidden, 2), dtype=np.float32)
    weights[0] = 1
    found = dict(answer(encoder, EXAMPLES, windows, Probes(readouts, weights), {"slice": SLICE}))["slice"]
    assert [reading.kind for reading in found.readings][-1] == "gold"
    assert np.isnan(found.nll[-1]).all()
    short = int(np.flatnonzero(windows.examples == 4)[0])
    assert found.nll[:-1, 4] == pytest.approx(np.full((encoder.layers, 2), np.log(windows.lengths[short])), abs=1e-5)


def test_real_dev_questions(squad_dev: list[Example], tiny_model: TinyModel) -> None:
    """The first answer's targets are among the gold tokens of every window that holds it."""
    examples = squad_dev[:1500:5]
    tokenizer = load_encoder(tiny_model("bert"), device=CPU).tokenizer
    windows = make_windows(examples, tokenizer, max_seq_length=128, doc_stride=32, max_query_length=32)
    several = 0
    for (starts, ends), (first, last) in zip(gold_of(windows, examples), windows.targets.tolist(), strict=True):
        if first > 0:
            assert first in starts
            assert last in ends
        several += len(starts) > 1
    assert several > 10

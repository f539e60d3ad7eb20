"""Controls: what each changes and leaves; and a planted signal that the probe finds and no control does."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.qa.checks.controls import (
    fit_position,
    random_layers,
    shuffled_questions,
    word_answers,
)
from stages.qa.checks.examination import Sample, examine, sampled
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, load_encoder
from stages.qa.errors import InputError
from stages.qa.sections import Convex, Examine
from tests.conftest import CPU, TinyModel
from tests.scoring.test_intervals import SETTINGS
from tests.tiny_models import FAMILIES

STRIDE = 16
WINDOWS = {"max_seq_length": 48, "doc_stride": STRIDE, "max_query_length": 16}
CONVEX = Convex(l2=[0.03], gap=1e-3, max_passes=100)
EXAMINE = Examine(training_questions=160, dev_questions=100, max_answer_tokens=3, cka_tokens=200, seed=0)


@pytest.fixture(scope="module")
def encoder(tiny_model: TinyModel) -> Encoder:
    return load_encoder(tiny_model("bert"), device=CPU)


@pytest.fixture(scope="module")
def windows(encoder: Encoder, sample: list[Example]) -> Windows:
    return make_windows(sample[:60], encoder.tokenizer, **WINDOWS)


def test_shuffled_questions_come_from_another_paragraph(sample: list[Example]) -> None:
    shuffled = shuffled_questions(sample, seed=1)
    paragraphs = {example.question: set() for example in sample}
    for example in sample:
        paragraphs[example.question].add(example.paragraph)
    assert Counter(e.question for e in shuffled) == Counter(e.question for e in sample)
    assert all(before.paragraph not in paragraphs[after.question] or len(paragraphs[after.question]) > 1
               for before, after in zip(sample, shuffled, strict=True))  # fmt: skip
    assert [replace(e, question="") for e in shuffled] == [replace(e, question="") for e in sample]
    assert shuffled_questions(sample, seed=2) != shuffled == shuffled_questions(sample, seed=1)


def test_one_paragraph_cannot_be_shuffled(sample: list[Example]) -> None:
    with pytest.raises(InputError, match="one has 5 of 6"):
        shuffled_questions([replace(e, paragraph=int(i == 0)) for i, e in enumerate(sample[:6])], seed=0)


def test_the_answer_is_a_word_of_the_highest_value(sample: list[Example]) -> None:
    """The same word is the answer wherever the same words stand."""
    answered = word_answers(sample, seed=3)
    for before, after in zip(sample, answered, strict=True):
        (answer,) = after.answers
        assert after.context[answer.start : answer.start + len(answer.text)] == answer.text
        assert replace(after, answers=before.answers, is_impossible=before.is_impossible) == before
    seen: dict[frozenset[str], str] = {}
    one, other = "the cat saw a Dog", "A dog, the saw? Cat!"
    for context in (one, other):
        (example,) = word_answers([replace(sample[0], context=context)], seed=3)
        seen[context] = example.answers[0].text.lower()
    assert seen[one] == seen[other]
    assert word_answers(sample, seed=4) != answered
    with pytest.raises(InputError, match="no word"):
        word_answers([replace(sample[0], context="...")], seed=3)


def test_sampled_questions_are_sampled(sample: list[Example]) -> None:
    assert sampled(sample, 10**6) == sample
    places = [sample.index(example) for example in sampled(sample, 7)]
    assert len(places) == 7
    assert max(np.diff(places)) - min(np.diff(places)) <= 1


def test_position_scores_are_at_their_optimum(windows: Windows) -> None:
    """Against a softmax regression on one-hot places by another solver."""
    from scipy.optimize import minimize

    rows = np.arange(12)
    few = replace(
        windows,
        examples=windows.examples[rows],
        starts=windows.starts[: len(rows) + 1],
        context=windows.context[rows],
        targets=windows.targets[rows],
    )
    longest = int(few.lengths.max())

    def value(flat: np.ndarray) -> float:
        table = flat.reshape(2 * longest + 1, 2)
        total = 0.0
        for row in rows:
            scores = np.zeros((few.lengths[row], 2))
            for place in range(few.lengths[row]):
                first, end = few.context[row]
                inside = place - first if first <= place < end else longest
                scores[place] = table[place] + table[longest + inside]
            for side in range(2):
                log_z = np.logaddexp.reduce(scores[:, side])
                total += log_z - scores[few.targets[row, side], side]
        return total / (2 * len(rows)) + 1e-2 / 2 * (flat**2).sum()

    found = fit_position(few, None)
    ours = torch.cat([found.window, found.context]).numpy().astype(float).ravel()
    gradient = np.array([
        (value(ours + step) - value(ours - step)) / 2e-3
        for step in 1e-3 * np.eye(len(ours))[:: 7]
    ])  # fmt: skip
    assert np.abs(gradient).max() < 2e-3
    best = minimize(value, ours, method="L-BFGS-B", options={"maxiter": 2}).fun
    assert value(ours) <= best + 1e-3
    assert found.logits(few, rows).shape == (1, few.starts[-1], 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_layers_stand_on_the_encoders_own_embeddings(
    family: str, tiny_model: TinyModel, sample: list[Example]
) -> None:
    encoder = load_encoder(tiny_model(family), device=CPU)
    few = make_windows(sample[:2], encoder.tokenizer, **WINDOWS)
    own, other = (encode(one, few, np.arange(2)).states for one in (encoder, random_layers(encoder, seed=1)))
    assert torch.equal(own[0], other[0])
    for layer in range(1, encoder.layers):
        assert not torch.isclose(own[layer], other[layer]).all(1).any()
    assert torch.equal(own, encode(encoder, few, np.arange(2)).states)  # the encoder itself is as before


def test_position_alone_is_fitted_to_the_same_bytes(encoder: Encoder, sample: list[Example]) -> None:
    many = make_windows(sample[:300], encoder.tokenizer, **WINDOWS)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fits = [fit_position(many, None) for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(fit.window, fits[0].window) for fit in fits)
    assert all(torch.equal(fit.context, fits[0].context) for fit in fits)


def planted(encoder: Encoder, number: int, seed: int) -> list[Example]:
    """Two questions a paragraph of 20 random words; a question is one of the words, and so is its answer."""
    vocabulary = sorted(w for w in encoder.tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)
    random = np.random.default_rng(seed)
    examples = []
    for paragraph in range(number // 2):
        words = [vocabulary[i] for i in random.permutation(len(vocabulary))[:20]]
        context = " ".join(words)
        for place in random.permutation(20)[:2]:
            start = len(" ".join(words[:place])) + (place > 0)
            id_ = f"{seed}-{paragraph}-{place}"
            answers = (Answer(words[place], start),)
            examples.append(Example(id_, words[place], context, answers, False, paragraph, paragraph, ""))
    return examples


def test_a_planted_direction_is_found_and_controls_stay_at_the_floor(encoder: Encoder) -> None:
    """The last layer marks context words that stand in the question; the layers below hold the words alone."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(len(encoder.tokenizer), encoder.hidden, generator=generator)
    direction = torch.randn(encoder.hidden, generator=generator)
    separator = encoder.tokenizer.sep_token_id

    def forward(input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        in_context = (input_ids == separator).cumsum(1).clamp(max=1).bool()
        asked = input_ids.masked_fill(in_context, -1)
        asked[:, 0] = -1
        marked = (input_ids[:, :, None] == asked[:, None]).any(-1) & in_context
        words = embedding[input_ids]
        states = [words] * (encoder.layers - 1) + [words + 3 * marked[..., None] * direction]
        return SimpleNamespace(hidden_states=states)

    model = load_encoder_copy(encoder, forward)
    sample = Sample(planted(encoder, 160, 0), planted(encoder, 40, 2), planted(encoder, 100, 1), WINDOWS)
    tables = examine(
        model, sample, 0.03, model="planted", convex=CONVEX, memory=1.0, settings=EXAMINE, statistics=SETTINGS
    )
    frame = tables["controls"]
    f1 = frame.pivot(index="control", columns="layer", values="forced_f1")
    nll = frame.pivot(index="control", columns="layer", values="nll")
    selectivity = frame.pivot(index="control", columns="layer", values="selectivity")
    top = encoder.layers - 1
    floor = 20  # percent; one word of twenty by chance
    assert f1.loc["task", top] > 90
    assert f1.loc["task", 0] < floor
    controls = ["shuffled_question", "no_question", "position_only"]
    assert (f1.loc[controls] < floor).all(axis=None)
    assert (f1.loc["words"] > 30).all()  # by memory: the words are few
    assert (selectivity.loc[controls, top] > 70).all()
    assert nll.loc["task", top] < 1 < nll.loc[controls, top].min()
    learned = tables["learning"].pivot(index="articles", columns="layer", values="forced_f1")
    assert learned.index.tolist() == [5, 10, 20, 40, 80]
    assert learned.loc[80].tolist() == f1.loc["task"].tolist()
    assert learned.loc[5, top] > 50  # one direction is found in a few questions
    compression = tables["description"].set_index("layer")["compression"]
    assert compression[top] > 1.5
    assert compression[0] < 1.05  # the answers are random words: nothing is learned that carries over


def load_encoder_copy(encoder: Encoder, forward: object) -> Encoder:
    """`encoder` with another forward pass."""
    from copy import copy

    model = copy(encoder.model)
    model.forward = forward
    return replace(encoder, model=model)

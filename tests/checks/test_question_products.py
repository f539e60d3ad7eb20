"""The probe that sees the question: its features by a loop, a task that it alone solves, and the linear probe in it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stages.qa import processes
from stages.qa.checks import examination
from stages.qa.checks.controls import PRODUCTS, TASK, question_products
from stages.qa.checks.examination import Sample, examine
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, load_encoder
from stages.qa.encoding.features import Features, Widen
from stages.qa.probing.convex import Solver
from tests.checks.test_controls import CONVEX, EXAMINE, WINDOWS, load_encoder_copy
from tests.conftest import CPU, TinyModel
from tests.encoding.test_features import gib_for
from tests.scoring.test_intervals import SETTINGS

CANDIDATE = 5  # every fifth word of a context may be an answer


@pytest.fixture(scope="module")
def encoder(tiny_model: TinyModel) -> Encoder:
    return load_encoder(tiny_model("bert"), device=CPU)


@pytest.fixture(scope="module")
def windows(encoder: Encoder, sample: list[Example]) -> Windows:
    return make_windows(sample[:12], encoder.tokenizer, **WINDOWS)


def by_a_loop(encoder: Encoder, windows: Windows, row: int) -> np.ndarray:
    """The features of one window, token by token."""
    states = encode(encoder, windows, np.array([row])).states.numpy()
    ids = windows.input_ids[windows.starts[row] : windows.starts[row + 1]].tolist()
    first, end = windows.context[row]
    asked = [t for t in range(len(ids)) if not first <= t < end and ids[t] not in encoder.tokenizer.all_special_ids]
    q = np.mean([states[:, t] for t in asked], axis=0) if asked else np.zeros_like(states[:, 0])
    rows = []
    for t in range(len(ids)):
        n = np.mean([states[:, i] for i in range(t - 2, t + 3) if 0 <= i < len(ids)], axis=0)
        rows.append(np.concatenate([states[:, t], n * q], axis=-1))
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("asked", [True, False])
def test_features_equal_those_of_a_loop(tiny_model: TinyModel, sample: list[Example], family: str, asked: bool) -> None:
    encoder = load_encoder(tiny_model(family), device=CPU)
    examples = sample[:6] if asked else [replace(example, question="") for example in sample[:6]]
    windows = make_windows(examples, encoder.tokenizer, **WINDOWS)
    assert len(windows) > 2 * len(examples)  # contexts are cut
    order = np.random.default_rng(0).permutation(len(windows))
    chunk = encode(encoder, windows, order)
    wide = question_products(encoder, windows, chunk)
    expected = np.concatenate([by_a_loop(encoder, windows, row) for row in order], axis=1)
    np.testing.assert_allclose(wide.states, expected, rtol=1e-4, atol=1e-5)
    assert (np.abs(expected[..., encoder.hidden :]).max() > 0.1) == asked
    assert wide.rows.tolist() == order.tolist()
    half = question_products(encoder, windows, replace(chunk, states=chunk.states.bfloat16()))
    assert half.states.dtype == torch.bfloat16


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("tokens", [10**6, 500, 1])
def test_in_memory_or_not_and_in_processes(
    encoder: Encoder, windows: Windows, tokens: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "count", lambda: count)
    seen = []
    for rank in range(count):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        features = Features(encoder, windows, gib=gib_for(encoder, tokens), widen=question_products)
        assert features.fits == (tokens == 10**6)
        for block in [*features.blocks(), *features.part(np.arange(len(windows))).blocks()]:
            (part,) = block.parts
            for row, states in zip(block.rows, part.unbind(1), strict=True):
                np.testing.assert_allclose(states, by_a_loop(encoder, windows, row), rtol=1e-4, atol=1e-5)
            seen += block.rows.tolist()
    assert sorted(seen) == sorted([*range(len(windows))] * 2)


def test_memory_is_for_states_and_twice_as_wide_features(encoder: Encoder, windows: Windows) -> None:
    tokens = 3 * int(windows.starts[-1])
    assert Features(encoder, windows, gib=gib_for(encoder, tokens), widen=question_products).fits
    assert not Features(encoder, windows, gib=gib_for(encoder, tokens - 1), widen=question_products).fits


def without_products(encoder: Encoder, windows: Windows, chunk: Chunk) -> Chunk:
    wide = question_products(encoder, windows, chunk)
    wide.states[..., encoder.hidden :] = 0
    return wide


def planted(vocabulary: list[str], number: int, times: int) -> list[Example]:
    """Contexts of 20 random words, four of them candidates; a question is one of them `times`, the answer too."""
    random = np.random.default_rng(times)
    examples = []
    for i in range(number):
        words = [vocabulary[place] for place in random.permutation(len(vocabulary))[:20]]
        place = CANDIDATE * int(random.integers(4)) + 2
        answers = (Answer(words[place], len(" ".join(words[:place])) + 1),)
        question = " ".join([words[place]] * times)
        examples.append(Example(f"{times}-{i}", question, " ".join(words), answers, False, i // 2, i // 2, ""))
    return examples


@pytest.fixture(scope="module")
def task(encoder: Encoder) -> tuple[Encoder, Sample]:
    """States say which word a token is, and which tokens are candidates; none says what the question is."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(len(encoder.tokenizer), encoder.hidden, generator=generator)
    direction = torch.randn(encoder.hidden, generator=generator)
    separator = encoder.tokenizer.sep_token_id

    def forward(input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        after = (input_ids == separator).cumsum(1).clamp(max=1).cumsum(1) - 2  # place in the context
        candidate = (after >= 0) & (after % CANDIDATE == 2) & (input_ids != separator)
        clear = (candidate | (after < 0))[..., None]
        states = embedding[input_ids] * torch.where(clear, 1.0, 0.1) + 5 * candidate[..., None] * direction
        return SimpleNamespace(hidden_states=[states] * encoder.layers)

    vocabulary = sorted(w for w in encoder.tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2)
    parts = planted(vocabulary, 160, 2), [], planted(vocabulary, 100, 1)
    return load_encoder_copy(encoder, forward), Sample(*parts, WINDOWS)


def controls(task: tuple[Encoder, Sample], widen: Widen, monkeypatch: pytest.MonkeyPatch) -> list[pd.DataFrame]:
    """The rows of the linear probe, then those of the one that sees the question."""
    monkeypatch.setattr(examination.controls, "question_products", widen)
    encoder, sample = task
    tables = examine(encoder, sample, 0.03, model="m", convex=CONVEX, memory=1.0, settings=EXAMINE, statistics=SETTINGS)
    frame = tables["controls"]
    sums = tables["clusters"].groupby(["control", "layer"])[["f1_sum", "questions"]].sum()
    of_forms = frame.set_index(["control", "layer"])["forced_f1"].loc[[PRODUCTS, TASK]]
    np.testing.assert_allclose(100 * sums["f1_sum"] / sums["questions"], of_forms, rtol=1e-5)
    return [frame[frame["control"] == name].reset_index(drop=True) for name in (TASK, PRODUCTS)]


def test_a_task_that_only_products_solve(task: tuple[Encoder, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    linear, products = controls(task, question_products, monkeypatch)
    assert (linear["forced_f1"] < 45).all()  # one of four by chance
    assert (products["forced_f1"] > 90).all()
    assert (products["nll"] < linear["nll"] - 0.5).all()
    assert products["selectivity"].isna().all()
    assert (products["training_questions"] == linear["training_questions"]).all()


def test_without_products_it_is_the_linear_probe(
    task: tuple[Encoder, Sample], encoder: Encoder, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear, zeroed = controls(task, without_products, monkeypatch)
    same = ["forced_f1", "nll", "questions"]
    np.testing.assert_allclose(zeroed[same], linear[same], rtol=1e-5)
    one, other = (
        Solver(Features(encoder, windows, gib=1, widen=widen), CONVEX).fit(0.1) for widen in (None, without_products)
    )
    np.testing.assert_allclose(other.objective, one.objective, rtol=0, atol=CONVEX.gap)
    np.testing.assert_allclose(other.weights[:, : encoder.hidden], one.weights, rtol=0, atol=1e-5)
    assert (other.weights[:, encoder.hidden :] == 0).all()
    assert (other.gap <= CONVEX.gap).all()

"""The judge, against a loop over all spans and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from stages.qa.checks.judging import Judge, read_windows
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, load_encoder
from stages.qa.errors import NumericsError
from stages.qa.metric import official_metrics, question_scores
from stages.qa.probing.probes import token_scores
from stages.qa.scoring.bootstrap import band, resample
from tests.conftest import CPU, TinyModel
from tests.scoring.test_intervals import SETTINGS


@pytest.fixture(scope="module")
def encoder(tiny_model: TinyModel) -> Encoder:
    return load_encoder(tiny_model("bert"), device=CPU)


@pytest.fixture(scope="module")
def examples(sample: list[Example]) -> list[Example]:
    return sample[:30]


@pytest.fixture(scope="module")
def windows(encoder: Encoder, examples: list[Example]) -> Windows:
    return make_windows(examples, encoder.tokenizer, max_seq_length=64, doc_stride=24, max_query_length=16)


@pytest.fixture(scope="module")
def weights(encoder: Encoder) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(encoder.layers, encoder.hidden, 2)).astype(np.float32)


def test_the_judge_equals_scikit_learn_and_the_official_metric(
    encoder: Encoder, examples: list[Example], windows: Windows, weights: np.ndarray
) -> None:
    vectors = torch.from_numpy(weights)
    judge = Judge(lambda chunk: token_scores(chunk.states, vectors), encoder.layers, examples, windows, 5)
    read_windows(encoder, windows, [judge])
    found = judge.judged(SETTINGS)
    answerable = [example for example in examples if example.answers]
    assert found.numbers.sum() == len(answerable)
    sums: list[list[float]] = []
    for layer in range(encoder.layers):
        best: dict[str, tuple[float, str]] = {}
        losses = []
        for row in range(len(windows)):
            scores = encode(encoder, windows, np.array([row])).states[layer].double().numpy() @ weights[layer]
            for side in range(2):
                probabilities = np.exp(scores[:, side] - np.logaddexp.reduce(scores[:, side]))
                labels = range(len(scores))
                losses.append(log_loss([windows.targets[row, side]], [probabilities], labels=labels))
            example = examples[windows.examples[row]]
            first, end = windows.context[row]
            for start in range(first, end):
                for last in range(start, min(start + 5, end)):
                    offsets = windows.offsets[windows.starts[row] :]
                    text = example.context[offsets[start, 0] : offsets[last, 1]]
                    score = scores[start, 0] + scores[last, 1]
                    best[example.id] = max(best.get(example.id, (-np.inf, "")), (score, text))
        assert found.nll[layer] == pytest.approx(np.mean(losses), rel=1e-4)
        expected = official_metrics(answerable, {e.id: best[e.id][1] for e in answerable})["f1"]
        assert found.forced_f1[layer] == pytest.approx(expected, abs=1e-6)
        f1 = question_scores(answerable, {e.id: best[e.id][1] for e in answerable}).f1
        paragraphs = sorted({e.paragraph for e in answerable})  # there are few articles
        sums.append([sum(f1[[e.paragraph == one for e in answerable]]) for one in paragraphs])
    numbers = np.array([sum(e.paragraph == one for e in answerable) for one in paragraphs])
    assert found.numbers.tolist() == numbers.tolist()
    np.testing.assert_allclose(found.sums, sums, atol=1e-9)
    curves = resample(np.array([sums]), numbers, SETTINGS.resamples, seed=SETTINGS.seed, key="")
    np.testing.assert_allclose(found.bands, np.clip(band(100 * curves, 0.95), 0, 100), atol=1e-9)
    assert (found.bands[0] < found.forced_f1).all() or (found.forced_f1 == 0).any()
    assert (found.bands[1] > found.forced_f1).all()


def test_scores_that_are_no_numbers_are_an_error(encoder: Encoder, examples: list[Example], windows: Windows) -> None:
    judge = Judge(lambda chunk: torch.full((1, int(chunk.starts[-1]), 2), torch.nan), 1, examples, windows, 5)
    with pytest.raises(NumericsError, match="not finite near question"):
        read_windows(encoder, windows, [judge])

"""The span search against the original study's, and against brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.qa.answering.answers import null_probability
from stages.qa.answering.spans import SpanReader, best_spans
from stages.qa.data.windows import Windows

GOLDEN = Path(__file__).parents[1] / "golden" / "original_span_search.npz"


def test_equals_the_original_search() -> None:
    golden = np.load(GOLDEN)
    logits = torch.from_numpy(golden["logits"])
    context = torch.from_numpy(golden["context"])
    position = torch.arange(logits.shape[1])
    inside = (position >= context[:, :1]) & (position < context[:, 1:])
    masked = logits.masked_fill(~inside[..., None], -torch.inf)
    first, last, score = best_spans(masked[..., 0], masked[..., 1], max_answer_tokens=18)
    null = logits[:, 0].sum(-1)
    no_answer = null > score
    span = torch.where(no_answer[:, None], 0, torch.stack([first, last], dim=-1))
    np.testing.assert_array_equal(span.numpy(), golden["span"])
    np.testing.assert_array_equal(torch.where(no_answer, null, score).numpy(), golden["score"])


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 15))
def test_equals_brute_force(data: st.DataObject, tokens: int, longest: int) -> None:
    number = st.integers(-3, 3).map(float)  # few values, so that ties are common
    start = data.draw(st.lists(number, min_size=tokens, max_size=tokens))
    end = data.draw(st.lists(number, min_size=tokens, max_size=tokens))
    first, last, score = best_spans(torch.tensor([start]), torch.tensor([end]), max_answer_tokens=longest)
    tried = {(i, -j): start[i] + end[j] for i in range(tokens) for j in range(i, min(i + longest, tokens))}
    best = max(tried, key=lambda span: (tried[span], span))  # the later start, then the earlier end
    assert (int(first), -int(last)) == best
    assert float(score) == tried[best]


def two_window_question() -> Windows:
    """One question over a context of 4 tokens 'ab cd ef gh' in two windows of 3 context tokens, one on 'x'."""
    chars = [(0, 0), (0, 2), (3, 5), (6, 8)], [(0, 0), (3, 5), (6, 8), (9, 11)], [(0, 0), (0, 1)]
    return Windows(
        input_ids=np.zeros(10, dtype=np.int32),
        token_type_ids=np.zeros(10, dtype=np.uint8),
        offsets=np.array([c for window in chars for c in window], dtype=np.int32),
        starts=np.array([0, 4, 8, 10]),
        examples=np.array([0, 0, 1], dtype=np.int32),
        articles=np.zeros(3, dtype=np.int32),
        context=np.array([[1, 4], [1, 4], [1, 2]], dtype=np.int32),
        null=np.zeros(3, dtype=np.int64),
        targets=np.zeros((3, 2), dtype=np.int64),
    )


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_windows_merge_by_question(order: list[int]) -> None:
    windows = two_window_question()
    logits = torch.zeros(1, 10, 2)
    logits[0, 0], logits[0, 4] = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.5])  # null scores 4 and 1.5
    logits[0, 1, 0], logits[0, 2, 1] = 2.0, 1.0  # 'ab cd' in the first window: 3
    logits[0, 6, 0], logits[0, 7, 1] = 2.0, 4.0  # 'ef gh' in the second: 6
    logits[0, 9] = torch.tensor([1.0, 1.0])
    packed = torch.cat([logits[:, windows.starts[w] : windows.starts[w + 1]] for w in order], dim=1)
    reader = SpanReader(windows, 1, max_answer_tokens=30)
    reader.read(np.array(order), packed)
    spans = reader.spans(["ab cd ef gh", "x"])
    assert spans.chars.tolist() == [[[6, 11], [0, 1]]]
    assert spans.score.tolist() == [[6.0, 2.0]]
    assert spans.null_score.tolist() == [[1.5, 0.0]]  # the lowest null score of the question's windows
    assert null_probability(spans, 0).tolist() == pytest.approx([1 / (1 + np.exp(4.5)), 1 / (1 + np.exp(2))])


def test_the_window_with_the_highest_score_decides_in_the_original() -> None:
    windows = two_window_question()
    logits = torch.zeros(2, 10, 2)
    logits[:, 0] = torch.tensor([3.0, 2.0])  # first window: null 5 against
    logits[:, 1, 0], logits[:, 2, 1] = 2.0, 1.0  # 'ab cd' 3
    logits[0, 6, 0], logits[0, 7, 1] = 2.0, 2.5  # second window: 'ef gh' 4.5 against null 0
    logits[1, 6, 0], logits[1, 7, 1] = 2.0, 3.5  # under the second reading 5.5
    reader = SpanReader(windows, 2, max_answer_tokens=30)
    reader.read(np.arange(3), logits)
    spans = reader.spans(["ab cd ef gh", "x"], merge="highest")
    assert spans.null_score[:, 0].tolist() == [5.0, 0.0]  # refused in the first reading, answered in the second
    assert spans.score[:, 0].tolist() == [3.0, 5.5]
    assert spans.chars[:, 0].tolist() == [[0, 5], [6, 11]]
    assert reader.spans(["ab cd ef gh", "x"]).null_score[:, 0].tolist() == [0.0, 0.0]


def test_the_longest_answer_is_a_number_of_tokens() -> None:
    start, end = torch.tensor([5.0, 0, 0, 0]), torch.tensor([0, 0, 0, 5.0])
    assert [int(x) for x in best_spans(start, end, max_answer_tokens=4)[:2]] == [0, 3]
    assert [int(x) for x in best_spans(start, end, max_answer_tokens=3)[:2]] == [3, 3]


def test_a_context_without_tokens_has_no_span() -> None:
    windows = two_window_question()
    windows.context[2] = [2, 2]
    reader = SpanReader(windows, 1, max_answer_tokens=3)
    reader.read(np.arange(3), torch.ones(1, 10, 2))
    spans = reader.spans(["ab cd ef gh", "\u200b"])
    assert spans.chars[0, 1].tolist() == [-1, -1]
    assert null_probability(spans, 0)[1] == 1.0


def test_spaces_at_the_edges_of_a_span_stay_outside() -> None:
    windows = two_window_question()
    windows.offsets[[1, 2, 3]] = [[0, 3], [2, 5], [5, 6]]  # 'ab ', ' cd', ' '
    reader = SpanReader(windows, 2, max_answer_tokens=30)
    logits = torch.zeros(2, 10, 2)
    logits[0, 2, 0], logits[0, 3, 1] = 9.0, 9.0
    logits[1, 3, 0], logits[1, 3, 1] = 9.0, 9.0
    reader.read(np.arange(3), logits)
    assert reader.spans(["ab cd ef gh", "x"]).chars[:, 0].tolist() == [[3, 5], [6, 6]]


def test_no_answer_is_read_where_the_template_has_it() -> None:
    windows = two_window_question()
    windows.null[:] = [3, 0, 1]
    reader = SpanReader(windows, 1, max_answer_tokens=30)
    logits = torch.zeros(1, 10, 2)
    logits[0, :, 0] = torch.arange(10)
    reader.read(np.array([2, 0, 1]), torch.cat([logits[:, 8:], logits[:, :8]], dim=1))
    assert reader.null_score.tolist() == [[3, 4, 9]]

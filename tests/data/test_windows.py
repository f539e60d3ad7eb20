"""Windows against the tokenizers' own encoding of pairs, and against run_squad's windows spelled out."""

import gzip
import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from stages.qa.data import windows as windows_module
from stages.qa.data.squad import Answer, Example
from stages.qa.data.text import covering
from stages.qa.data.windows import IGNORED, Windows, make_windows, touching
from stages.qa.errors import InputError
from tests.tiny_models import FAMILIES, SPECIAL, TOKENIZERS, UNICODE, train_tokenizer

KINDS = list(SPECIAL)
NO_ANSWER = 0  # the place of [CLS], <s>
ODD = [
    *UNICODE,
    "one  two\tthree\n\nfour \u00a0 five\r\n",
    " leading and trailing ",
    "a\u0000b \u200b\u200d\ufeff zero\u00adwidth \u202eRTL\u202c end",
    "e\u0301e\u0301e\u0301 NFD \u1100\u1161\u11a8 \ud55c\uae00",
    "''quoted'' ``so'' -- it's (1,234.5%) … ½ ™ Ⅷ",
    "\U0001f1ef\U0001f1f5\U0001f3f3\ufe0f\u200d\U0001f308 flags",
]


@cache
def load(kind: str) -> PreTrainedTokenizerFast:
    return train_tokenizer(kind)


def example(question: str, context: str, answer: tuple[str, int] | None = None, id_: str = "q1") -> Example:
    answers = () if answer is None else (Answer(*answer),)
    return Example(id_, question, context, answers, answer is None, article=0, paragraph=0, title="")


def windows_of(examples: list[Example], kind: str, **sizes: int) -> Windows:
    return make_windows(
        examples, load(kind), **{"max_seq_length": 512, "doc_stride": 128, "max_query_length": 64} | sizes
    )


def window(windows: Windows, number: int) -> dict[str, Any]:
    """One window as lists; everything outside its context must have the offsets (0, 0)."""
    tokens = slice(windows.starts[number], windows.starts[number + 1])
    first, end = windows.context[number].tolist()
    offsets = windows.offsets[tokens]
    assert not offsets[:first].any()
    assert not offsets[end:].any()
    ids = windows.input_ids[tokens].tolist()
    return {
        "ids": ids,
        "types": windows.token_type_ids[tokens].tolist(),
        "head": ids[:first],
        "context": ids[first:end],
        "tail": ids[end:],
        "offsets": [tuple(pair) for pair in offsets[first:end].tolist()],
        "bounds": (first, end),
        "target": tuple(windows.targets[number].tolist()),
    }


def widened(text: str, offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(a, b) for a, b in covering(text, np.array(offsets, dtype=np.int32).reshape(-1, 2)).tolist()]


def check_layout(windows: Windows) -> None:
    assert windows.starts[0] == 0
    assert windows.starts[-1] == len(windows.input_ids) == len(windows.token_type_ids) == len(windows.offsets)
    assert (windows.lengths > 0).all()
    assert len(windows) == len(windows.starts) - 1 == len(windows.context) == len(windows.targets)
    assert (np.diff(windows.examples) >= 0).all()
    assert (windows.context[:, 1] <= windows.lengths).all()
    dtypes = [
        array.dtype.name for array in (windows.input_ids, windows.token_type_ids, windows.offsets, windows.starts)
    ]
    assert dtypes == ["int32", "uint8", "int32", "int64"]
    assert [a.dtype.name for a in (windows.examples, windows.context, windows.targets)] == ["int32", "int32", "int64"]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_window_equals_the_tokenizers_own_pair(family: str, tiny_model: Any, sample: list[Example]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
    examples = [*sample[:40:4], *(example(odd.replace("\n", " ")[:60], text) for odd in ODD for text in ODD)]
    windows = make_windows(examples, tokenizer, max_seq_length=512, doc_stride=128, max_query_length=400)
    assert windows.examples.tolist() == list(range(len(examples)))
    check_layout(windows)
    for number, one in enumerate(examples):
        pair = tokenizer(one.question.strip(), one.context, return_token_type_ids=True, return_offsets_mapping=True)
        got = window(windows, number)
        assert got["ids"] == pair["input_ids"], one
        assert got["types"] == pair["token_type_ids"]
        in_context = [i for i, sequence in enumerate(pair.sequence_ids()) if sequence == 1]
        assert got["bounds"] == (in_context[0], in_context[-1] + 1)
        assert got["offsets"] == widened(one.context, [pair["offset_mapping"][i] for i in in_context])


@pytest.mark.parametrize(
    ("family", "special", "context_type"),
    [("bert", 3, 1), ("albert", 3, 1), ("electra", 3, 1), ("roberta", 4, 0), ("mpnet", 4, 0), ("xlm-roberta", 4, 0)],
)
def test_template_of_the_family(family: str, special: int, context_type: int) -> None:
    got = window(windows_of([example("Who?", "Ann did it.")], TOKENIZERS[family]), 0)
    first, _ = got["bounds"]
    tokenizer = load(TOKENIZERS[family])
    question = tokenizer("Who?", add_special_tokens=False)["input_ids"]
    assert len(got["head"]) + len(got["tail"]) == len(question) + special
    assert got["ids"][0] == tokenizer.cls_token_id
    assert got["head"][-1] == got["tail"][0] == tokenizer.sep_token_id
    assert got["types"] == [0] * first + [context_type] * (len(got["ids"]) - first)


def run_squad_windows(ids: list[int], room: int, stride: int) -> list[tuple[int, int]]:
    """First and end of each window's context tokens: the loop of Google's run_squad.py."""
    spans, start = [], 0
    while start < len(ids):
        length = min(len(ids) - start, room)
        spans.append((start, start + length))
        if start + length == len(ids):
            break
        start += min(length, stride)
    return spans


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("room", "stride"), [(10, 10), (10, 9), (10, 4), (10, 1), (1, 1), (7, 3)])
def test_windows_of_a_long_context_are_those_of_run_squad(kind: str, room: int, stride: int) -> None:
    tokenizer = load(kind)
    words = "the fair of Melmore honours Clara Perstein and awards gloves to its best singer, " * 3
    question = tokenizer("Who sang?", add_special_tokens=False)["input_ids"]
    special = tokenizer.num_special_tokens_to_add(pair=True)
    for cut in (200, 197, 120, 60, 31, 12, 3):
        ids = tokenizer(words[:cut], add_special_tokens=False)["input_ids"]
        offsets = tokenizer(words[:cut], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        windows = windows_of(
            [example("Who sang?", words[:cut])], kind, max_seq_length=room + special + len(question), doc_stride=stride
        )
        check_layout(windows)
        expected = run_squad_windows(ids, room, stride)
        got = [window(windows, number) for number in range(len(windows))]
        assert [one["context"] for one in got] == [ids[a:b] for a, b in expected]
        assert [one["offsets"] for one in got] == [widened(words[:cut], offsets)[a:b] for a, b in expected]
        assert windows.lengths.max() <= room + special + len(question)
        assert len({(tuple(one["head"]), tuple(one["tail"])) for one in got}) == 1


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_any_text(kind: str, text: str) -> None:
    """Whatever the text: the tokens are the tokenizer's, and offsets are slices of it, in order."""
    tokenizer = load(kind)
    windows = windows_of([example("Who?", text)], kind, max_seq_length=2048)
    check_layout(windows)
    got = window(windows, 0)
    plain = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    ids = plain["input_ids"]
    special = set(tokenizer.all_special_ids)
    if not special & set(ids):
        assert got["context"] == ids
    assert got["offsets"] == widened(text, plain["offset_mapping"])
    assert all(0 <= start <= end <= len(text) for start, end in got["offsets"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "written", ["[SEP]", "[CLS]", "<s>", "</s>", "<pad>", "[PAD]", "<mask>", "[MASK]", "x[SEP]y </s>"]
)
def test_text_that_spells_a_special_token_stays_text(kind: str, written: str) -> None:
    tokenizer = load(kind)
    special = np.array([i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id])
    plain = windows_of([example("What is it?", "It is that, they say.")], kind)
    odd = windows_of([example(f"What is {written} it?", f"It is {written} that, {written} they say.")], kind)
    assert np.isin(odd.input_ids, special).sum() == np.isin(plain.input_ids, special).sum()
    assert len(odd.input_ids) > len(plain.input_ids)
    context = f"It is {written} that, {written} they say."
    if kind not in ("albert", "deberta", "xlm"):  # Unigram vocabularies cannot split them
        split = tokenizer(context, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert window(odd, 0)["context"] == split
        assert tokenizer.unk_token_id not in split
    covered = {i for start, end in window(odd, 0)["offsets"] for i in range(start, end)}
    assert set(range(6, 6 + len(written))) - {i for i, c in enumerate(context) if c == " "} <= covered


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_tokens_that_touch_them(kind: str, sample: list[Example]) -> None:
    examples = [*sample[:200], *(example("What?", text, (text[a:b], a)) for text in ODD for a, b in [(0, 5), (7, 12)])]
    windows = windows_of(examples, kind)
    for number, one in enumerate(examples):
        got = window(windows, number)
        if one.is_impossible:
            assert got["target"] == (NO_ANSWER, NO_ANSWER)
            continue
        answer = one.answers[0]
        characters = range(answer.start, answer.start + len(answer.text))
        touching = [i for i, (a, b) in enumerate(got["offsets"]) if set(range(a, b)) & set(characters)]
        if not touching:
            assert got["target"] == (IGNORED, IGNORED)
            continue
        first = got["bounds"][0]
        assert got["target"] == (first + touching[0], first + touching[-1])
        if one in sample:
            start, end = got["offsets"][touching[0]][0], got["offsets"][touching[-1]][1]
            assert one.context[start:end].strip() == answer.text  # the sample's answers are whole words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["first", "last"])
def test_answer_at_the_first_and_last_context_token(kind: str, where: str) -> None:
    context = "9 is more than 8"
    start = 0 if where == "first" else len(context) - 1
    got = window(windows_of([example("Which?", context, (context[start], start))], kind), 0)
    first, end = got["bounds"]
    inside = got["offsets"][got["target"][0] - first : got["target"][1] + 1 - first]
    assert {pair for pair in inside if pair[0] < pair[1]} == {(start, start + 1)}
    assert (got["target"][0] == first) if where == "first" else (got["target"][1] == end - 1)


def test_answer_in_many_windows_and_outside_of_others() -> None:
    context = " ".join("abcdefghij")
    one = example("x", context, ("e f", context.index("e")))  # context tokens 4 and 5
    windows = windows_of([one], "wordpiece", max_seq_length=4 + 4, doc_stride=1)
    assert len(windows) == 7
    assert windows.context.tolist() == [[3, 7]] * 7
    targets = [tuple(pair) for pair in windows.targets.tolist()]
    cut = (NO_ANSWER, NO_ANSWER)  # the answer is wholly or partly outside
    assert targets == [cut, cut, (5, 6), (4, 5), (3, 4), cut, cut]


def test_the_first_answer_is_the_target_and_the_last_none() -> None:
    one = replace(example("x", "a b c", ("b", 2)), answers=(Answer("b", 2), Answer("c", 4)))
    assert windows_of([one], "wordpiece").targets.tolist() == [[4, 4]]
    assert windows_of([replace(one, is_impossible=True)], "wordpiece").targets.tolist() == [[0, 0]]
    assert windows_of([replace(one, answers=(), is_impossible=None)], "wordpiece").targets.tolist() == [[0, 0]]


def test_answer_without_a_token_is_ignored() -> None:
    one = example("x", "a \u200d b", ("\u200d", 2))
    assert windows_of([one], "wordpiece").targets.tolist() == [[IGNORED, IGNORED]]


def test_an_offset_may_be_any_number_where_only_the_text_counts() -> None:
    """As of answers that are read to be scored: none of the context's tokens touches it."""
    assert windows_of([example("x", "a b", ("b", 10**30))], "wordpiece").targets.tolist() == [[IGNORED, IGNORED]]


@pytest.mark.parametrize("kind", KINDS)
def test_long_questions_are_cut(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    question = "Who was the first singer of the fair? " * 60
    short, long = (window(windows_of([example(q, "Ann.")], kind), 0) for q in ("Who?", question))
    ids = load(kind)(question, add_special_tokens=False)["input_ids"]
    size = len(short["head"]) - len(load(kind)("Who?", add_special_tokens=False)["input_ids"])
    assert len(long["head"]) == size + 64
    assert long["head"][1:65] == ids[:64]
    assert long["context"] == short["context"]
    assert "1 of 1 questions cut to 64 tokens" in caplog.text


@pytest.mark.parametrize(
    "sizes",
    [
        {"max_seq_length": 8, "doc_stride": 1},  # no room beside the question
        {"max_seq_length": 4, "doc_stride": 128},
        {"max_seq_length": 20, "doc_stride": 128},  # gaps
        {"max_seq_length": 64 + 3, "max_query_length": 64, "doc_stride": 1, "long": 1},
    ],
)
def test_windows_that_cannot_be(sizes: dict[str, int]) -> None:
    question = "Who was it then?" * (20 if sizes.pop("long", 0) else 1)
    with pytest.raises(InputError) as caught:
        windows_of([example(question, "Ann sang here. " * 20, id_="q-17")], "wordpiece", **sizes)
    message = str(caught.value)
    assert "q-17" in message
    assert "windows.max_seq_length" in message
    assert "windows.doc_stride" in message
    assert "\n" not in message


def test_wide_stride_is_no_fault_where_one_window_holds_the_context() -> None:
    assert len(windows_of([example("Who?", "Ann sang.")], "wordpiece", max_seq_length=20, doc_stride=128)) == 1


def test_context_without_any_token() -> None:
    both = [example("Who?", "\u200d\u200b\u200e", ("\u200d", 0)), example("Who?", "Ann.")]
    windows = windows_of(both, "wordpiece")
    check_layout(windows)
    empty = window(windows, 0)
    assert empty["context"] == []
    assert empty["bounds"][0] == empty["bounds"][1] == len(empty["head"])
    assert empty["target"] == (IGNORED, IGNORED)
    assert window(windows, 1)["head"] == empty["head"]


@pytest.mark.parametrize("kind", KINDS)
def test_very_long_context(kind: str) -> None:
    context = "Every year Clara opens the fair of Melmore. " * 2400
    context = context[:100_000] + " It ends on Xmas"
    windows = windows_of([example("When?", context, ("Xmas", len(context) - 4))], kind, max_seq_length=384)
    assert len(windows) > 100
    last = window(windows, len(windows) - 1)
    first = last["bounds"][0]
    touched = last["offsets"][last["target"][0] - first : last["target"][1] + 1 - first]
    assert context[touched[0][0] : touched[-1][1]].strip() == "Xmas"
    assert windows.offsets.max() == len(context)


@pytest.mark.parametrize("kind", KINDS)
def test_one_very_long_word(kind: str) -> None:
    context = "ab" * 50_000 + " end"
    windows = windows_of([example("Where?", context, ("end", 100_001))], kind, max_seq_length=384)
    last = window(windows, len(windows) - 1)
    assert last["offsets"][-1][1] == len(context)
    assert last["target"] != (NO_ANSWER, NO_ANSWER)


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_texts_tokenised_in_batches_give_the_same_windows(
    batch: int, sample: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [*sample[:40], example("Who sang? " * 20, "Ann. " * 99, ("Ann.", 0))]
    sizes = {"max_seq_length": 80, "doc_stride": 20, "max_query_length": 16}
    whole = windows_of(examples, "wordpiece", **sizes)
    assert whole.articles.tolist() == [examples[row].article for row in whole.examples]
    monkeypatch.setattr(windows_module, "BATCH", batch)
    parts = make_windows(examples, load("wordpiece"), **sizes)
    for name in [field.name for field in fields(Windows)]:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), strict=True)


def test_touching_tokens_share_a_character() -> None:
    """Against sets of characters; a token without a character of its own touches nothing."""
    offsets = np.array([[0, 2], [2, 2], [2, 5], [5, 6], [6, 6], [7, 9]])
    for start in range(11):
        for end in range(start + 1, 11):
            expected = [i for i, (a, b) in enumerate(offsets) if set(range(a, b)) & set(range(start, end))]
            assert touching(offsets, start, end).tolist() == expected, (start, end)
    assert touching(offsets, 10**30, 10**30 + 3).tolist() == []


def test_shared_contexts_are_told_apart_from_equal_questions() -> None:
    examples = [
        example("Who?", "Ann.", id_="1"),
        example("Who?", "Bob."),
        example("Where?", "Ann."),
        example("Who?", "Ann."),
    ]
    windows = windows_of(examples, "wordpiece")
    got = [window(windows, number)["ids"] for number in range(4)]
    alone = [window(windows_of([one], "wordpiece"), 0)["ids"] for one in examples]
    assert got == alone


def read_examples(path: Path, articles: int) -> list[Example]:
    with gzip.open(path) as file:
        data = json.load(file)["data"][:articles]
    return [
        example(
            qa["question"], paragraph["context"], next(((a["text"], a["answer_start"]) for a in qa["answers"]), None)
        )
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def gold_is_covered(examples: list[Example], windows: Windows) -> None:
    """Each answer is a target of some window, and the characters of a target hold the answer."""
    found = set()
    for number, owner in enumerate(windows.examples):
        first, last = windows.targets[number].tolist()
        if first > NO_ANSWER:
            found.add(int(owner))
            start = windows.offsets[windows.starts[number] + first][0]
            end = windows.offsets[windows.starts[number] + last][1]
            text = examples[owner].context[start:end]
            assert examples[owner].answers[0].text.strip() in text
            assert len(text) <= len(examples[owner].answers[0].text) + 40
    answerable = {i for i, one in enumerate(examples) if not one.is_impossible}
    assert len(answerable - found) <= 0.002 * len(answerable)  # those cut by every window


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "albert"])
def test_real_questions(kind: str, squad_dir: Path) -> None:
    examples = read_examples(squad_dir / "dev-cs224n.json.gz", articles=2)
    windows = windows_of(examples, kind, max_seq_length=384)
    check_layout(windows)
    assert len(windows) > len(examples) > 300
    assert windows.lengths.max() == 384
    gold_is_covered(examples, windows)


def test_number_of_windows_of_the_cs224n_dev_split(squad_dir: Path) -> None:
    """6372 as run_squad's own conversion gives with a lower-casing BERT vocabulary (transformers 4.57.6)."""
    folder = Path(__file__).parents[2] / "data" / "models" / "minilm"
    if not folder.exists():
        pytest.skip("no data/models/minilm; `dvc repro download@minilm` fetches it")
    examples = read_examples(squad_dir / "dev-cs224n.json.gz", articles=10**6)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    windows = make_windows(examples, tokenizer, max_seq_length=384, doc_stride=128, max_query_length=64)
    assert len(windows) == 6372
    assert np.bincount(windows.examples).min() == 1
    assert (np.bincount(windows.examples) > 1).sum() == 155
    gold_is_covered(examples, windows)

"""Answers from logits to text: the gold reading is the protocol's ceiling, and wordpieces are joined as of old."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.qa.answering.answering import answer, decoder
from stages.qa.answering.answers import load_answers, save_answers
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, load_encoder
from stages.qa.errors import NumericsError
from stages.qa.files import read_json
from stages.qa.metric import official_metrics, question_scores
from stages.qa.probing.readouts import Probes
from stages.qa.readings import Readout
from stages.qa.sections import Protocol
from tests.tiny_models import make_tiny

SLICE = Protocol(
    optimizer="adamw", answer_text="slice", windows="official", max_answer_tokens=30, null_threshold=0.0
)  # fmt: skip
JOINED = SLICE.model_copy(update={"answer_text": "wordpieces", "windows": "highest"})


def question(id_: str, context: str, gold: str | None) -> Example:
    answers = () if gold is None else (Answer(gold, context.index(gold)),)
    return Example(id_, "Who was it?", context, answers, gold is None, article=0, paragraph=0, title="")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("models") / "bert"
    make_tiny("bert", folder)
    return load_encoder(folder, device=torch.device("cpu"))


def windowed(encoder: Encoder, examples: list[Example]) -> Windows:
    return make_windows(examples, encoder.tokenizer, max_seq_length=40, doc_stride=10, max_query_length=10)


LONG = " ".join(f"Person {number} lived in a house." for number in range(30))
EXAMPLES = [
    question("a", "In 3.5 years Zoe met Al.", "3.5 years"),
    question("b", "Nobody knows.", None),
    question("c", LONG, "Person 27"),
    question("d", LONG, None),
    question("e", "Zoe won.", "Zoe"),
]


def test_gold_spans_are_the_ceiling(encoder: Encoder) -> None:
    found = dict(
        answer(encoder, EXAMPLES, windowed(encoder, EXAMPLES), Probes.empty(3, 32), {"slice": SLICE, "joined": JOINED})
    )
    assert [reading.kind for reading in found["slice"].readings] == ["gold"]
    assert found["slice"].final(0) == {"a": "3.5 years", "b": "", "c": "Person 27", "d": "", "e": "Zoe"}
    assert official_metrics(EXAMPLES, found["slice"].final(0))["exact"] == 100
    joined = found["joined"].final(0)
    assert joined["a"] == "years"  # of "3 . 5 years", fewer words would be right
    assert official_metrics(EXAMPLES, joined)["exact"] == 80  # what the original's decoding cannot get right


@pytest.mark.parametrize("protocol", [SLICE, JOINED], ids=["slice", "joined"])
@pytest.mark.parametrize("most", [1, 2, 4, 30])
def test_no_span_beats_the_ceiling(encoder: Encoder, protocol: Protocol, most: int) -> None:
    """Against all spans of all windows. A tie between parts of a long answer decides nothing; every gold counts."""
    long = replace(
        EXAMPLES[2], id="l", answers=(Answer("lived in a house. Person 27", LONG.index("lived in a house. Person 27")),)
    )
    many = replace(EXAMPLES[0], id="m", answers=(*EXAMPLES[0].answers, Answer("Zoe met Al", 13)))
    examples = [*EXAMPLES, long, many]
    windows = windowed(encoder, examples)
    limited = protocol.model_copy(update={"max_answer_tokens": most})
    found = dict(answer(encoder, examples, windows, Probes.empty(3, 32), {"it": limited}))["it"]
    ceiling = question_scores(examples, found.final(0)).f1
    text_of = decoder(limited, encoder.tokenizer, windows, [example.context for example in examples])
    for number, example in enumerate(examples):
        best = 0.0 if example.answers else 1.0
        for row in np.flatnonzero(windows.examples == number):
            low, high = (windows.starts[row] + windows.context[row]).tolist()
            for first in range(low, high):
                for last in range(first, min(first + most, high)):
                    text = text_of(number, first, last)
                    best = max(best, float(question_scores([example], {example.id: text}).f1[0]))
        assert ceiling[number] == pytest.approx(best), example.id


def test_a_planted_probe_answers_and_files_come_back(encoder: Encoder, tmp_path: Path) -> None:
    readouts = [Readout("adamw", 1, 0.1, 0), Readout("adamw", 2, 0.1, 0), Readout("convex", None, None, None)]
    weights = np.random.default_rng(0).normal(size=(3, encoder.layers, encoder.hidden, 2)).astype(np.float32)
    found = dict(answer(encoder, EXAMPLES, windowed(encoder, EXAMPLES), Probes(readouts, weights), {"slice": SLICE}))[
        "slice"
    ]
    assert len(found.readings) == 2 * encoder.layers + 1  # the convex readout is another protocol's
    save_answers(tmp_path, found)
    again = load_answers(tmp_path)
    assert again.readings == found.readings
    assert list(again.texts) == list(found.texts)
    row = next(i for i, r in enumerate(found.readings) if (r.layer, r.readout) == (1, readouts[1]))
    assert again.final(row) == found.final(row) == read_json(tmp_path / "epoch_2/layer_01.json")
    probabilities = read_json(tmp_path / "epoch_2/layer_01_null_probability.json")
    assert {id_: p > 0.5 for id_, p in probabilities.items()} == {id_: not t for id_, t in found.final(row).items()}


def test_every_text_is_that_of_its_span(encoder: Encoder) -> None:
    """Of every reading and question; "" where the context has no token."""
    examples = [*EXAMPLES, question("f", "\u200d", None)]
    windows = windowed(encoder, examples)
    readouts = [Readout("adamw", 1, 0.1, seed) for seed in range(3)]
    weights = np.random.default_rng(0).normal(size=(3, encoder.layers, encoder.hidden, 2)).astype(np.float32)
    found = dict(answer(encoder, examples, windows, Probes(readouts, weights), {"slice": SLICE, "joined": JOINED}))
    for name, answers in found.items():
        assert len({text for row in answers.texts for text in row}) > 10
        for row in range(len(answers.readings)):
            for column, example in enumerate(examples):
                (start, end), (first, last) = answers.spans.chars[row, column], answers.spans.tokens[row, column]
                ids = windows.input_ids[first : last + 1].tolist()
                joined = " ".join(encoder.tokenizer.convert_ids_to_tokens(ids)).replace(" ##", "")
                expected = joined if name == "joined" else example.context[start:end]
                assert answers.texts[row][column] == (expected if start >= 0 else "")


def test_protocols_side_by_side_answer_as_each_alone(encoder: Encoder) -> None:
    """Those of one optimizer and longest answer share the search for spans."""
    readouts = [Readout("adamw", 1, 0.1, 0), Readout("convex", l2=0.1), Readout("adamw", 2, 0.1, 0)]
    weights = np.random.default_rng(0).normal(size=(3, encoder.layers, encoder.hidden, 2)).astype(np.float32)
    short = SLICE.model_copy(update={"max_answer_tokens": 2})
    convex = JOINED.model_copy(update={"optimizer": "convex"})
    highest = SLICE.model_copy(update={"windows": "highest"})
    protocols = {"slice": SLICE, "highest": highest, "convex": convex, "joined": JOINED, "short": short}
    windows = windowed(encoder, EXAMPLES)
    together = dict(answer(encoder, EXAMPLES, windows, Probes(readouts, weights), protocols))
    seen = set()
    for name, protocol in protocols.items():
        (alone,) = dict(answer(encoder, EXAMPLES, windows, Probes(readouts, weights), {name: protocol})).values()
        assert together[name].readings == alone.readings
        for row in range(len(alone.readings)):
            assert together[name].final(row) == alone.final(row), name
            np.testing.assert_array_equal(together[name].spans.null_score[row], alone.spans.null_score[row])
        np.testing.assert_array_equal(together[name].nll, alone.nll)
        seen.add(repr([alone.final(row) for row in range(3)]) + repr(alone.spans.null_score))
    assert len(seen) == len(protocols)


def test_logits_that_are_no_numbers_stop_the_stage(encoder: Encoder) -> None:
    weights = np.full((1, encoder.layers, encoder.hidden, 2), np.inf, dtype=np.float32)
    probes = Probes([Readout("adamw", 1, 0.1, 0)], weights)
    with pytest.raises(NumericsError, match=r"model bert: logits are not finite at question '\w+'"):
        dict(answer(encoder, EXAMPLES, windowed(encoder, EXAMPLES), probes, {"slice": SLICE}))


def test_hidden_labels_have_no_ceiling(encoder: Encoder) -> None:
    hidden = [Example("a", "Who?", "Ann.", (), None, article=0, paragraph=0, title="")]
    probes = Probes([Readout("adamw", 1, 0.1, 0)], np.zeros((1, encoder.layers, encoder.hidden, 2), dtype=np.float32))
    found = dict(answer(encoder, hidden, windowed(encoder, hidden), probes, {"slice": SLICE}))["slice"]
    assert {reading.kind for reading in found.readings} == {"probe"}


def test_wordpieces_are_joined_without_clean_up(encoder: Encoder) -> None:
    windows = windowed(encoder, EXAMPLES[:1])
    first, last = windows.context[0].tolist()
    text_of = decoder(JOINED, encoder.tokenizer, windows, [EXAMPLES[0].context])
    assert text_of(0, first, last - 1) == "in 3 . 5 years zoe met al ."

"""Cases 26 to 35: windows, decoding, and numbers that are none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.qa.answering.spans import SpanReader
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import encode, load_encoder
from stages.qa.files import read_json, read_tensors, write_tensors
from stages.qa.models.manifest import write_manifest
from tests.conftest import CPU, TinyModel
from tests.faults.study import Study

IMPORTS_MIB = 1000  # resident before a stage does anything, with room to spare
NO_ANSWER = 0  # the place of [CLS]
ANSWERS = "data/predictions/tiny/tiny/standard"


def squad(*rows: tuple[str, str, str | None]) -> dict[str, Any]:
    """SQuAD data of one paragraph for each (question, context, answer or None); ids q0, q1, ..."""
    paragraphs = []
    for number, (question, context, answer) in enumerate(rows):
        answers = [] if answer is None else [{"text": answer, "answer_start": context.rindex(answer)}]
        qa = {"id": f"q{number}", "question": question, "answers": answers, "is_impossible": answer is None}
        paragraphs.append({"context": context, "qas": [qa]})
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


def example(question: str, context: str, answer: str) -> Example:
    return Example("q", question, context, (Answer(answer, context.index(answer)),), False, 0, 0, "")


def test_case_26_question_of_600_tokens(done: Study) -> None:
    """A question of 600 words: cut at windows.max_query_length, counted in the log."""
    done.squad(squad(("Who is it then " * 150 + "?", "Ann sang.", "Ann"), ("Who?", "Bob.", "Bob")))
    outcome = done.well(*done.predict())
    assert "1 of 2 questions cut to 64 tokens" in outcome.err
    assert read_json(done.root / ANSWERS / "gold.json") == {"q0": "Ann", "q1": "Bob"}
    done.tell("'1 of 2 questions cut to 64 tokens'")


def test_case_27_windows_that_cannot_be(done: Study) -> None:
    """max_seq_length without room beside the question; doc_stride wider than the room: both parameters are named."""
    done.squad(squad(("Who sang at the fair?", "Ann sang here. " * 200, "Ann")))
    for values in {"max_seq_length": 6, "doc_stride": 2}, {"max_seq_length": 40, "doc_stride": 128}:
        done.set(**{f"windows__{name}": value for name, value in values.items()})
        says = [f"windows.max_seq_length ({values['max_seq_length']})", f"windows.doc_stride ({values['doc_stride']})"]
        done.refused(2, [*says, "'q0'"], *done.predict())
    done.set(windows__max_seq_length=600, windows__doc_stride=128)
    done.refused(2, ["windows.max_seq_length", "600 tokens", "takes 512"], *done.predict())


def test_case_28_very_long_context(done: Study) -> None:
    """A context of 100,000 characters, and a word of 100,000: the answer at the end is found, memory is bounded."""
    long = "Every year Clara opens the fair of Melmore. " * 2300 + "It ends on Xmas."
    done.squad(squad(("When does it end?", long, "Xmas"), ("Where?", "ab" * 50_000 + " end", "end")))
    outcome = done.well(*done.predict())
    assert read_json(done.root / ANSWERS / "gold.json") == {"q0": "Xmas", "q1": "end"}
    assert outcome.peak_mib < IMPORTS_MIB
    done.well(*done.evaluate())
    done.tell(f"both found, peak {outcome.peak_mib:.0f} MiB")


def test_case_29_answer_in_two_windows(tiny_model: TinyModel, tell: Callable[[str], None]) -> None:
    """An answer where two windows overlap: one answer, the same as from one window that holds all."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    context = " ".join(f"House {number} is old." for number in range(20))
    one = example("Which?", context, "House 9")
    answers, counts = [], []
    for length, stride in (400, 128), (40, 12):
        windows = make_windows([one], encoder.tokenizer, max_seq_length=length, doc_stride=stride, max_query_length=64)
        counts.append(int((windows.targets[:, 0] != NO_ANSWER).sum()))
        reader = SpanReader(windows, 1, max_answer_tokens=30)
        logits = torch.zeros(1, len(windows.input_ids), 2)
        for row, (first, last) in enumerate(windows.targets.tolist()):
            if first != NO_ANSWER:
                logits[0, windows.starts[row] + first, 0] = logits[0, windows.starts[row] + last, 1] = 5 + row
        reader.read(np.arange(len(windows)), logits)
        spans = reader.spans([context])
        answers.append(context[slice(*spans.chars[0, 0].tolist())])
    assert counts[0] == 1 < counts[1]
    assert answers == ["House 9"] * 2
    tell(f"in {counts[1]} windows of 40 tokens and in 1 of 400: the same answer")


def test_case_30_answer_longer_than_the_limit(done: Study) -> None:
    """A gold answer of 60 words: kept as a target of training; no prediction is longer than max_answer_tokens."""
    gold = "one two three four five six seven eight nine ten " * 6
    data = squad(("What?", f"They say: {gold.strip()}. Then no more.", gold.strip()))
    done.squad(data)
    done.squad(data, "train")
    done.well(*done.probe_train())
    losses = (done.root / "data/probes/tiny/tiny/loss.csv").read_text().splitlines()[1:]
    assert all(float(line.rpartition(",")[2]) > 0 for line in losses)  # it is learned from
    done.well(*done.predict())
    tokens = read_tensors(done.root / ANSWERS / "answers.safetensors")["tokens"]
    longest = int((tokens[..., 1] - tokens[..., 0] + 1).max())
    assert longest <= 30
    done.tell(f"trained on; the longest prediction has {longest} tokens, the limit is 30")


def test_case_31_equal_questions_side_by_side(done: Study) -> None:
    """The same question on adjacent paragraphs: no answer moves to the next id."""
    names = ["Ann", "Bob", "Cid", "Dora"]
    done.squad(squad(*(("Who sang at the fair?", f"{name} sang at the fair.", name) for name in names)))
    for protocol in "standard", "paper":
        done.well(*done.predict())
        found = read_json(done.root / f"data/predictions/tiny/tiny/{protocol}/gold.json")
        assert [text.lower() for text in found.values()] == [name.lower() for name in names]
        assert list(found) == ["q0", "q1", "q2", "q3"]


def test_case_32_segment_ids_of_albert(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    """ALBERT, whose tokenizer no longer returns them, is given segment ids: 0 for the question, 1 for the context."""
    encoder = load_encoder(tiny_model("albert"), device=CPU)
    one = example("Who sang?", "Ann sang at the fair.", "Ann")
    windows = make_windows([one], encoder.tokenizer, max_seq_length=64, doc_stride=32, max_query_length=16)
    given: dict[str, Any] = {}
    plain = type(encoder.model).forward

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        given.update(named)
        return plain(self, *arguments, **named)

    monkeypatch.setattr(type(encoder.model), "forward", forward)
    encode(encoder, windows, np.arange(1))
    first, end = windows.context[0].tolist()
    assert given["token_type_ids"][0].tolist() == [0] * first + [1] * (len(windows.input_ids) - first)
    assert end - first > 3
    tell(f"{first} zeros, then {len(windows.input_ids) - first} ones, reach the model")


def test_case_33_answer_at_the_edges(tiny_model: TinyModel, tell: Callable[[str], None]) -> None:
    """The answer is the first or the last context token of a window without padding: found (the argmax trap)."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    context = "9 is more than 8"
    windows = make_windows(
        [example("Which?", context, "9")], encoder.tokenizer, max_seq_length=64, doc_stride=32, max_query_length=16
    )
    found = []
    for token in windows.context[0, 0], windows.context[0, 1] - 1:
        logits = torch.zeros(1, len(windows.input_ids), 2)
        logits[0, token] = 1
        found.append(read(windows, logits, context))
    assert found == ["9", "8"]
    tell("both found")


def read(windows: Windows, logits: torch.Tensor, context: str) -> str:
    reader = SpanReader(windows, 1, max_answer_tokens=30)
    reader.read(np.arange(len(windows)), logits)
    return context[slice(*reader.spans([context]).chars[0, 0].tolist())]


def damage(folder: Path, tensor: str, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor].fill_(value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder, source="test")


def test_case_34_states_that_are_no_numbers(done: Study) -> None:
    """NaN or infinity in hidden states, in a probe, in the logits of the own head: model, layer and question."""
    probes = done.root / "data/probes/tiny/tiny/probes.safetensors"
    good = probes.read_bytes()
    write_tensors(probes, {"weights": np.full_like(read_tensors(probes)["weights"], 3e38)})
    done.refused(4, ["model tiny: logits are not finite", "question"], *done.predict())
    write_tensors(probes, {"weights": np.full_like(read_tensors(probes)["weights"], np.nan)})
    done.refused(3, ["probes.safetensors"], *done.predict())
    probes.write_bytes(good)
    for value in float("nan"), float("inf"):
        damage(done.models / "tiny", "encoder.layer.1.output.LayerNorm.bias", value)
        says = ["model tiny", "hidden states of layer 2", "first in question 1"]
        done.refused(4, says, *done.predict())
        done.refused(4, says, *done.probe_train())
    damage(done.models / "headed", "qa_outputs.bias", float("nan"))
    done.refused(4, ["model headed: logits of its own head"], *done.predict("headed", False))


def test_case_35_loss_that_is_no_number(study: Study) -> None:
    """A NaN loss, and targets that are all ignored: the fine-tuning stops at that step, never with a loss of 0."""
    context = "\u200d " + "Ann sang."
    data = squad(*(("Who?", context, "\u200d") for _ in range(3)))
    study.squad(data, "train")
    study.refused(2, ["3 of 3 gold answers do not come back", "'\\u200d' became ''"], *study.finetune())
    study.set(guard=0)
    study.refused(4, ["step 1: the loss is nan"], *study.finetune())
    study.squad((study.root / "train.json").read_bytes(), "train")
    damage(study.models / "tiny", "encoder.layer.1.output.LayerNorm.bias", float("nan"))
    study.refused(4, ["step 1: the loss is nan"], *study.finetune())
    assert json.loads((study.root / "train.json").read_text())

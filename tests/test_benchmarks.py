"""The benchmark compares like with like: its baseline is the original, and our fast path equals a plain one."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from benchmarks import gpu
from benchmarks.agreement import our_answers, packed, spans_by_loop, spans_by_reader
from benchmarks.growth import slope
from benchmarks.machine import forward_flops
from benchmarks.original_features import original_features
from benchmarks.original_probe import OriginalProbe, original_span, predict_original
from benchmarks.questions import read_questions
from benchmarks.random_models import random_encoder, random_windows
from benchmarks.sides import WINDOWS, as_original, settings, windows_of
from benchmarks.timing import Row
from stages.qa.data.squad import Example
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import encode, load_encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import initial_weights, train_probes
from stages.qa.probing.readouts import Probes
from stages.qa.readings import Readout
from tests.conftest import CPU, TinyModel

GOLDEN = Path(__file__).parent / "golden"
SMALL = {"max_seq_length": 96, "doc_stride": 32, "max_query_length": 16}  # contexts fall into several windows


@pytest.fixture(scope="module")
def slow_tokenizer(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> BertTokenizerLegacy:
    """The slow tokenizer over the tiny BERT's vocabulary."""
    vocabulary = json.loads((tiny_model("bert") / "tokenizer.json").read_text())["model"]["vocab"]
    file = tmp_path_factory.mktemp("slow") / "vocab.txt"
    file.write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n", encoding="utf-8")
    return BertTokenizerLegacy(str(file))


@pytest.mark.parametrize("rate", ["3e-05", "0.01"])
def test_the_baseline_makes_the_original_updates(rate: str) -> None:
    golden = np.load(GOLDEN / "original_probe_updates.npz")
    probe = OriginalProbe(16, lr=float(rate), dropout=0.0)
    for module, weights in zip((probe.start, probe.end), golden["init"], strict=True):
        module.linear.weight.data[0] = torch.from_numpy(weights)
    after = dict(zip(golden["updates"].tolist(), golden[f"weights_lr{rate}"], strict=True))
    for step, (states, starts, ends) in enumerate(zip(golden["features"], golden["start"], golden["end"], strict=True)):
        probe.train(torch.from_numpy(states), torch.from_numpy(starts).long(), torch.from_numpy(ends).long())
        if step + 1 in after:
            found = np.stack([side.linear.weight.detach().numpy()[0] for side in (probe.start, probe.end)])
            expected = after.pop(step + 1)
            moved = np.abs(expected - golden["init"]).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * moved)
    assert not after  # biases are not compared: their gradient is 0 but for rounding, and moves no probability


def test_the_baseline_searches_the_original_spans() -> None:
    golden = np.load(GOLDEN / "original_span_search.npz")
    for logits, context, span, score in zip(
        torch.from_numpy(golden["logits"]), golden["context"].tolist(), golden["span"], golden["score"], strict=True
    ):
        found = original_span(logits[None, :, 0], logits[None, :, 1], tuple(context))
        assert list(found[1:]) == span.tolist()
        assert found[0] == score


@pytest.mark.parametrize("training", [True, False])
def test_both_make_the_same_windows(
    tiny_model: TinyModel, slow_tokenizer: BertTokenizerLegacy, sample: list[Example], training: bool
) -> None:
    some = sample[:200]
    windows = make_windows(some, load_encoder(tiny_model("bert"), device=CPU).tokenizer, **SMALL)
    theirs, dataset = original_features(some, slow_tokenizer, training=training, **SMALL)
    assert len(theirs) == len(windows) > 250
    assert dataset.tensors[0].shape == (len(theirs), 96)
    other = 0
    for row, window in enumerate(theirs):
        tokens = slice(windows.starts[row], windows.starts[row + 1])
        size = sum(window.attention_mask)
        assert window.input_ids[:size] == windows.input_ids[tokens].tolist()
        assert window.token_type_ids[:size] == windows.token_type_ids[tokens].tolist()
        assert window.example == windows.examples[row]
        other += training and [window.start, window.end] != windows.targets[row].tolist()
    assert other <= 2  # whole words where the answer is a part of one


def plain_training(encoder_states: list[list[Tensor]], targets: np.ndarray, orders: list[np.ndarray]) -> Tensor:
    """Probes by the original's modules, window after window, softmax over real tokens: (layers, hidden, 2)."""
    weights = initial_weights(len(encoder_states), encoder_states[0][0].shape[-1], [0], std=0.02)[..., 0]
    result = []
    for states, initial in zip(encoder_states, weights, strict=True):
        probe = OriginalProbe(len(initial), lr=1e-2, dropout=0.0)
        probe.start.linear.weight.data[0], probe.end.linear.weight.data[0] = initial[:, 0], initial[:, 1]
        for order in orders:
            for first in range(0, len(order), 8):
                rows = order[first : first + 8]
                loss = torch.zeros(())
                for side, module in enumerate((probe.start, probe.end)):
                    one = [
                        cross_entropy(module(states[row][None]), torch.tensor([int(targets[row, side])]))
                        for row in rows
                    ]
                    loss = loss + torch.stack(one).mean() / 2
                loss.backward()
                for module, optimizer in ((probe.start, probe.start_optimizer), (probe.end, probe.end_optimizer)):
                    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                    optimizer.step()
                    module.zero_grad()
        result.append(torch.stack([probe.start.linear.weight.detach()[0], probe.end.linear.weight.detach()[0]], -1))
    return torch.stack(result)


def test_the_fast_training_equals_a_plain_one(tiny_model: TinyModel, sample: list[Example]) -> None:
    """One forward pass of each window by itself, a module for each layer and side, autograd: the same probes."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    windows = windows_of(encoder, sample[:20])
    probe = settings(epochs=2, rates=(1e-2,)).model_copy(update={"dropout": 0.0})
    found = torch.from_numpy(train_probes(Features(encoder, windows, gib=1.0), probe).weights[-1])
    states: list[list[Tensor]] = [[] for _ in range(encoder.layers)]
    with torch.no_grad():
        for first, end in zip(windows.starts[:-1], windows.starts[1:], strict=True):
            ids = torch.from_numpy(windows.input_ids[first:end]).long()[None]
            types = torch.from_numpy(windows.token_type_ids[first:end]).long()[None]
            output = encoder.model(input_ids=ids, token_type_ids=types, output_hidden_states=True)
            for layer, hidden_states in enumerate(output.hidden_states):
                states[layer].append(hidden_states[0])
    orders = [np.random.default_rng([0, epoch]).permutation(len(windows)) for epoch in range(2)]
    expected = plain_training(states, windows.targets, orders)
    moved = (expected - initial_weights(encoder.layers, encoder.hidden, [0], std=0.02)[..., 0]).abs().max()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * float(moved))


def test_the_fast_answers_equal_the_original_ones(
    tiny_model: TinyModel, slow_tokenizer: BertTokenizerLegacy, sample: list[Example]
) -> None:
    """The original's whole prediction, padded and in a loop, on the same weights: equal answers, layer by layer."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    some = sample[:24]
    windows = windows_of(encoder, some)
    states = encode(encoder, windows, np.arange(len(windows))).states.numpy()
    weights = np.random.default_rng(0).normal(size=(encoder.layers, encoder.hidden, 2))
    nothing = states[:, windows.starts[:-1]].mean(1) - states.mean(1)  # (layers, hidden): towards no answer
    weights += (12 * nothing / np.square(nothing).sum(1, keepdims=True))[:, :, None]
    last = Probes([Readout("adamw", 1, 1e-2, 0)], weights[None].astype(np.float32))
    _, dataset = original_features(some, slow_tokenizer, training=False, **WINDOWS)
    theirs = predict_original(encoder.model, slow_tokenizer, some, dataset, as_original(last))
    assert theirs == our_answers(encoder, some, last)
    empty = [answer == "" for table in theirs for answer in table.values()]
    assert 0.1 < np.mean(empty) < 0.9


def test_the_two_searches_agree_on_ties(tiny_model: TinyModel, sample: list[Example]) -> None:
    windows = windows_of(load_encoder(tiny_model("bert"), device=CPU), sample[:6])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-1, 2, (3, 6, 384, 2), generator=generator).float()
    loop, reader = spans_by_loop(logits, windows), spans_by_reader(logits, windows)
    np.testing.assert_array_equal(loop, reader)
    assert (loop == 0).all(-1).any() or len(np.unique(loop)) > 6
    assert packed(logits, windows).shape == (3, int(windows.starts[6]), 2)


@pytest.mark.parametrize("ours_first", [False, True])
def test_ratios_are_paired(ours_first: bool) -> None:
    baseline, ours = iter([8.0, 30.0, 12.0]), iter([1.0, 3.0, 2.0])  # the second round on a busy machine
    row = Row("a", "b", lambda: next(baseline), lambda: next(ours))
    for _ in range(3):
        row.run(ours_first=ours_first)
    assert row.ratios == [8, 10, 6]
    assert row.line() == "| a | b | 8 | 6 to 10 | 12 | 2 |"


def test_slope_of_a_power() -> None:
    assert slope([1, 3, 10], [2, 18, 200]) == pytest.approx(2)
    assert slope([1, 3, 10], [5, 5, 5]) == pytest.approx(0)


def test_operations_are_those_of_the_linear_layers(tiny_model: TinyModel) -> None:
    """Counted by torch's own counter over one window."""
    from torch.utils.flop_counter import FlopCounterMode

    encoder = load_encoder(tiny_model("bert"), device=CPU)
    encoder.model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder.model.base_model.encoder(torch.zeros(1, 50, encoder.hidden))
    assert forward_flops(encoder.model.config, [50]) == counter.get_total_flops()


def test_texts_are_whole_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SQUAD_DIR", raising=False)
    texts, everything = read_questions(10), read_questions(None)
    for few, all_ in ((texts.train, everything.train), (texts.dev, everything.dev)):
        assert 10 <= len(few) < 20
        assert few == all_[: len(few)]
        assert few[-1].paragraph != all_[len(few)].paragraph
    assert "sample" in texts.source


def test_a_random_encoder_runs_on_random_windows() -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    encoder = random_encoder(config, "random", dtype=torch.float32, device="cpu")
    windows = random_windows([30, 20, 30], config.vocab_size)
    assert windows.lengths.tolist() == [30, 20, 30]
    assert encode(encoder, windows, np.arange(3)).states.shape == (3, 80, 32)


def test_real_texts(squad_dir: Path) -> None:
    texts = read_questions(96)
    assert texts.source.startswith("real")
    with gzip.open(squad_dir / "dev-cs224n.json.gz") as file:
        first = json.load(file)["data"][0]["paragraphs"][0]
    assert texts.dev[0].id == first["qas"][0]["id"]
    assert 96 <= len(texts.train) < 120


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_part_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main()
    assert "no GPU here: not measured" in capsys.readouterr().out

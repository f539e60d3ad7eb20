"""Both sides give the same results. This is checked before anything is timed, on the questions that are timed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.original_features import original_features
from benchmarks.original_probe import OriginalProbe, original_logits, original_span
from benchmarks.sides import PAPER, WINDOWS, Original, answers_ours, as_original
from stages.qa.answering.spans import SpanReader
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Batch
from stages.qa.errors import UserError
from stages.qa.probing.probes import ProbeBank
from stages.qa.probing.readouts import Probes

UPDATE_TOLERANCE = 1e-3  # of the distance that the weights moved
SAME_ANSWERS = 0.995  # share of answers from float32 states; rounding may turn an answer in a thousand
SAME_ANSWERS_BF16 = 0.95  # share that bfloat16 states must leave as float32 states give them


class DisagreementError(UserError):
    """The two sides compute different things: their times must not be compared."""


def check_windows(original: Original, windows: Windows, examples: list[Example], *, training: bool) -> str:
    """Every window has the same input ids on both sides. Says how many answer positions differ, and why."""
    theirs, _ = original_features(examples, original.tokenizer, training=training, **WINDOWS)
    if len(theirs) != len(windows):
        raise DisagreementError(f"{len(theirs)} windows of the original, {len(windows)} of ours")
    moved = 0
    for row, window in enumerate(theirs):
        tokens = slice(windows.starts[row], windows.starts[row + 1])
        if window.input_ids[: sum(window.attention_mask)] != windows.input_ids[tokens].tolist():
            raise DisagreementError(f"window {row}: other input ids (question {examples[window.example].id})")
        moved += [window.start, window.end] != windows.targets[row].tolist()
    result = f"{len(theirs)} windows, all input ids equal"
    if training:
        result += f", {moved} with another target (the original takes whole words where a part of one is the answer)"
    return result


def check_spans(probes: Sequence[OriginalProbe], states: Sequence[Tensor], windows: Windows) -> str:
    """From equal logits, the original's loop and our span reader find the same span of every window and layer."""
    logits = original_logits(probes, states)  # (layers, windows, tokens, 2)
    ours = spans_by_reader(logits, windows)
    theirs = spans_by_loop(logits, windows)
    spans = ours.shape[0] * ours.shape[1]
    differing = int((ours != theirs).any(-1).sum())
    if differing:
        raise DisagreementError(f"{differing} of {spans} spans differ")
    return f"{spans} spans from equal logits, all equal"


def spans_by_loop(logits: Tensor, windows: Windows) -> np.ndarray:
    """The original's search over logits (layers, windows, tokens, 2).

    Returns first and last token, (layers, windows, 2) int64; (0, 0) for no answer.
    """
    layers, count = logits.shape[:2]
    spans = np.zeros((layers, count, 2), dtype=np.int64)
    for layer in range(layers):
        for row in range(count):
            first, end = windows.context[row].tolist()
            start_scores, end_scores = logits[layer, row, :, 0], logits[layer, row, :, 1]
            spans[layer, row] = original_span(start_scores[None], end_scores[None], (first, end))[1:]
    return spans


def spans_by_reader(logits: Tensor, windows: Windows) -> np.ndarray:
    """The pipeline's search over the real tokens of the same logits; returns the same as `spans_by_loop`."""
    count = logits.shape[1]
    reader = read_spans(packed(logits, windows), windows, count)
    answered = reader.score[:, :count] >= reader.null_score[:, :count]
    return np.asarray(reader.tokens[:, :count] * answered[..., None])


def packed(logits: Tensor, windows: Windows) -> Tensor:
    """Padded logits (layers, windows, tokens, 2) of the first windows without the padding, (layers, tokens, 2)."""
    lengths = torch.from_numpy(windows.lengths[: logits.shape[1]])
    real = torch.arange(logits.shape[2]) < lengths[:, None]
    return logits[:, real]


def read_spans(logits: Tensor, windows: Windows, count: int) -> SpanReader:
    """The span reader over the packed logits of the first `count` windows."""
    reader = SpanReader(windows, len(logits), max_answer_tokens=PAPER.max_answer_tokens)
    reader.read(np.arange(count), logits)
    return reader


def check_updates(states: Sequence[Tensor], starts: Tensor, ends: Tensor, *, lr: float, steps: int = 10) -> str:
    """Without dropout and padding, the original's probes and our probe bank move alike.

    They learn from the first 8 windows, cut to 64 tokens. A target past the cut is ignored by both.
    """
    cut, hidden = 64, states[0].shape[-1]
    layers = torch.stack([layer[:8, :cut] for layer in states])  # (layers, 8, cut, hidden)
    targets = torch.stack([starts, ends], dim=-1)[:8].clamp(max=cut)
    torch.manual_seed(0)
    probes = [OriginalProbe(hidden, lr=lr, dropout=0.0) for _ in states]
    initial = _stacked(probes)
    bank = ProbeBank(initial, torch.tensor([lr]), max_grad_norm=1.0)
    lengths = torch.full((len(targets),), cut)
    batch = Batch(np.arange(len(targets)), [layers], lengths, targets)
    for _ in range(steps):
        for probe, layer in zip(probes, layers, strict=True):
            probe.train(layer, targets[:, 0].clone(), targets[:, 1].clone())
        bank.update(batch)
    expected = _stacked(probes)
    error = (bank.weights - expected).abs().amax((1, 3))  # (layers, 2)
    moved = (expected - initial).abs().amax((1, 3))
    worst = float((error / moved).max())
    if not worst <= UPDATE_TOLERANCE:
        raise DisagreementError(f"after {steps} updates without dropout a weight is off by {worst:.2g} of its way")
    return f"{steps} updates without dropout at {lr:g}: weights equal to {worst:.1g} of their way"


def _stacked(probes: Sequence[OriginalProbe]) -> Tensor:
    """Weights as the probe bank has them, (layers, hidden, 2, 1)."""
    pairs = []
    for probe in probes:
        start, end = probe.start.linear.weight.detach()[0], probe.end.linear.weight.detach()[0]
        pairs.append(torch.stack([start, end], dim=-1))
    return torch.stack(pairs)[..., None].clone()


def check_answers(original: Original, exact: Encoder, examples: list[Example], probes: Probes) -> str:
    """From text to text in float32, both sides answer alike."""
    theirs = original.answers(examples, as_original(probes))
    same = _share_equal(theirs, our_answers(exact, examples, probes))
    if same < SAME_ANSWERS:
        raise DisagreementError(f"only {same:.1%} of the answers from float32 states are the original's")
    return f"answers of the two sides from float32 states: {same:.1%} equal"


def our_answers(encoder: Encoder, examples: list[Example], probes: Probes) -> list[dict[str, str]]:
    """Our answers of layers 1, 2, ... with the last readout, each by question id."""
    answers = answers_ours(encoder, examples, Probes(probes.readouts[-1:], probes.weights[-1:]))
    rows = [row for row, reading in enumerate(answers.readings) if reading.kind == "probe" and reading.layer > 0]
    return [answers.final(row) for row in rows]


def _share_equal(one: list[dict[str, str]], other: list[dict[str, str]]) -> float:
    """Share of equal answers, over all layers and questions."""
    equal = []
    for answers, others in zip(one, other, strict=True):
        equal += [text == others[question] for question, text in answers.items()]
    return float(np.mean(equal))


def check_precision(exact: Encoder, encoder: Encoder, examples: list[Example], probes: Probes) -> str:
    """The same probes give nearly the same answers on float32 states and on those of `encoder`."""
    if encoder.model.dtype == torch.float32:
        return "the frozen forward pass is float32"
    same = _share_equal(our_answers(exact, examples, probes), our_answers(encoder, examples, probes))
    if same < SAME_ANSWERS_BF16:
        raise DisagreementError(f"only {same:.1%} of the answers from bfloat16 states are those from float32 states")
    return f"answers from bfloat16 and from float32 states: {same:.1%} equal"

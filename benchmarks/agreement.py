"""Both sides give the same: checked before anything is timed, on the questions that are timed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.original_features import original_features
from benchmarks.original_probe import OriginalProbe, original_logits, original_span
from benchmarks.sides import WINDOWS, Original, answers_ours, as_original, windows_of
from stages.qa.answering.spans import SpanReader
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Batch, Features
from stages.qa.probing.probes import ProbeBank, summed_loss
from stages.qa.probing.readouts import Probes

UPDATE_TOLERANCE = 1e-3  # of the distance that the weights moved
SAME_ANSWERS = 0.95  # share that bfloat16 states must leave as float32 states give them
LOSS_TOLERANCE = 0.01  # nats between float32 and bfloat16 states


class DisagreementError(Exception):
    """The two sides compute different things: their times must not be compared."""


def check_windows(original: Original, windows: Windows, examples: list[Example], *, training: bool) -> str:
    """Input ids are the same for every window; says how many answer positions are not, and why that may be."""
    theirs, _ = original_features(examples, original.tokenizer, training=training, **WINDOWS)
    if len(theirs) != len(windows):
        raise DisagreementError(f"{len(theirs)} windows of the original, {len(windows)} of ours")
    for row, window in enumerate(theirs):
        tokens = slice(windows.starts[row], windows.starts[row + 1])
        if window.input_ids[: sum(window.attention_mask)] != windows.input_ids[tokens].tolist():
            raise DisagreementError(f"window {row}: other input ids (question {examples[window.example].id})")
    said = f"{len(theirs)} windows, all input ids equal"
    if training:
        moved = sum((w.start, w.end) != tuple(t) for w, t in zip(theirs, windows.targets.tolist(), strict=True))
        said += f", {moved} with another target (the original takes whole words where a part of one is the answer)"
    return said


def check_spans(probes: Sequence[OriginalProbe], states: list[Tensor], windows: Windows) -> str:
    """From the same logits, the loop and the span reader find the same span of every window and layer."""
    logits = original_logits(probes, states)  # (layers, windows, tokens, 2)
    found = spans_by_reader(logits, windows)
    expected = spans_by_loop(logits, windows)
    if not np.array_equal(found, expected):
        raise DisagreementError(f"{int((found != expected).any(-1).sum())} of {found[..., 0].size} spans differ")
    return f"{found[..., 0].size} spans from equal logits, all equal"


def spans_by_loop(logits: Tensor, windows: Windows) -> np.ndarray:
    """The original's search: first and last token (layers, windows, 2), (0, 0) for no answer."""
    context = windows.context[: logits.shape[1]].tolist()
    rows = [
        [
            original_span(window[None, :, 0], window[None, :, 1], (a, b))[1:]
            for window, (a, b) in zip(layer, context, strict=True)
        ]
        for layer in logits
    ]
    return np.array(rows)


def spans_by_reader(logits: Tensor, windows: Windows) -> np.ndarray:
    """The pipeline's search over the real tokens of the same logits."""
    reader = read_spans(packed(logits, windows), windows, logits.shape[1])
    answered = reader.score[:, : logits.shape[1]] >= reader.null_score[:, : logits.shape[1]]
    return np.asarray(reader.tokens[:, : logits.shape[1]] * answered[..., None])


def packed(logits: Tensor, windows: Windows) -> Tensor:
    """Padded logits (layers, windows, tokens, 2) of the first windows without the padding, (layers, tokens, 2)."""
    real = torch.arange(logits.shape[2]) < torch.from_numpy(windows.lengths[: logits.shape[1]])[:, None]
    return logits[:, real]


def read_spans(logits: Tensor, windows: Windows, count: int) -> SpanReader:
    """The span reader over the packed logits of the first `count` windows."""
    reader = SpanReader(windows, len(logits), max_answer_tokens=18, merge="highest")
    reader.read(np.arange(count), logits)
    return reader


def check_updates(states: list[Tensor], starts: Tensor, ends: Tensor, *, lr: float, steps: int = 10) -> str:
    """Without dropout and padding, the original's modules and the bank move alike: on windows cut to 64 tokens."""
    cut, hidden = 64, states[0].shape[-1]
    layers = torch.stack([layer[:8, :cut] for layer in states])  # (layers, 8, cut, hidden)
    targets = torch.stack([starts, ends], dim=-1)[:8].clamp(max=cut)  # `cut` itself: ignored by both
    torch.manual_seed(0)
    probes = [OriginalProbe(hidden, lr=lr, dropout=0.0) for _ in states]
    initial = _stacked(probes)
    bank = ProbeBank(initial, torch.tensor([lr]), max_grad_norm=1.0)
    lengths = torch.full((len(targets),), cut)
    batch = Batch.packed(rows=np.arange(len(targets)), states=layers.flatten(1, 2), lengths=lengths, targets=targets)
    for _ in range(steps):
        for probe, layer in zip(probes, layers, strict=True):
            probe.train(layer, targets[:, 0].clone(), targets[:, 1].clone())
        bank.update(batch)
    expected = _stacked(probes)
    worst = float(((bank.weights - expected).abs().amax((1, 3)) / (expected - initial).abs().amax((1, 3))).max())
    if not worst <= UPDATE_TOLERANCE:
        raise DisagreementError(f"after {steps} updates without dropout a weight is off by {worst:.2g} of its way")
    return f"{steps} updates without dropout: weights equal to {worst:.1g} of their way"


def _stacked(probes: Sequence[OriginalProbe]) -> Tensor:
    """Weights as the bank has them, (layers, hidden, 2, 1)."""
    pairs = [torch.stack([p.start.linear.weight.detach()[0], p.end.linear.weight.detach()[0]], -1) for p in probes]
    return torch.stack(pairs)[..., None].clone()


def check_answers(original: Original, exact: Encoder, examples: list[Example], probes: Probes) -> str:
    """From text to text in float32, both sides answer alike; a rounding may turn an answer in a thousand."""
    theirs = original.answers(examples, as_original(probes))
    ours = _texts(exact, examples, probes)
    same = float(np.mean([a[id_] == b[id_] for a, b in zip(theirs, ours, strict=True) for id_ in a]))
    if same < 0.995:
        raise DisagreementError(f"only {same:.1%} of the answers from float32 states are the original's")
    return f"answers of the two sides from float32 states: {same:.1%} equal"


def _texts(encoder: Encoder, examples: list[Example], probes: Probes) -> list[dict[str, str]]:
    answers = answers_ours(encoder, examples, Probes(probes.readouts[-1:], probes.weights[-1:]))
    return [answers.final(row) for row, reading in enumerate(answers.readings) if reading.kind == "probe"][1:]


def check_precision(exact: Encoder, used: Encoder, train: list[Example], dev: list[Example], probes: Probes) -> str:
    """The gate of bfloat16: equal answers and losses of the same probes on float32 and on the states that are used."""
    if used.model.dtype == torch.float32:
        return "the frozen forward pass is float32"
    pairs = zip(_texts(exact, dev, probes), _texts(used, dev, probes), strict=True)
    same = float(np.mean([a[id_] == b[id_] for a, b in pairs for id_ in a]))
    losses = [_loss(encoder, train, probes) for encoder in (exact, used)]
    off = float((losses[0] - losses[1]).abs().max())
    if same < SAME_ANSWERS or off > LOSS_TOLERANCE:
        raise DisagreementError(f"bfloat16: {same:.1%} of the answers as in float32, loss off by {off:.3f} nats")
    return f"bfloat16 states: {same:.1%} of the answers as from float32, training loss within {off:.4f} nats"


def _loss(encoder: Encoder, examples: list[Example], probes: Probes) -> Tensor:
    """Mean cross-entropy of start and end for each layer, (layers,)."""
    windows = windows_of(encoder, examples)
    weights = torch.from_numpy(probes.weights[-1])[..., None]
    total, count = torch.zeros(encoder.layers), 0
    for batch in Features(encoder, windows, gib=4.0).batches(np.arange(len(windows)), 64):
        loss, _, counts = summed_loss(batch, weights)
        total += loss.mean((1, 2))
        count += int(counts[0])
    return total / count

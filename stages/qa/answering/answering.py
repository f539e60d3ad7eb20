"""Answer questions with every probe on every layer of an encoder, from one forward pass."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from stages.qa import processes
from stages.qa.answering.answers import Answers, Spans, Texts
from stages.qa.answering.likelihood import GoldLikelihood
from stages.qa.answering.spans import SpanReader, sliced
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import NumericsError
from stages.qa.probing.readouts import Probes
from stages.qa.progress import Progress
from stages.qa.readings import Reading
from stages.qa.sections import Protocol

CHUNK_GIB = {"cpu": 1 / 16, "cuda": 1}  # hidden states in memory at once


def answer(
    encoder: Encoder,
    examples: Sequence[Example],
    windows: Windows,
    probes: Probes,
    protocols: Mapping[str, Protocol],
) -> Iterator[tuple[str, Answers]]:
    """Answer all questions under every protocol from one forward pass; the answers of one protocol after the other.

    Raises NumericsError if a logit is not finite, naming model and question.
    """
    labelled = all(example.is_impossible is not None for example in examples)
    readings = _readings(encoder, probes, gold=labelled)
    gold_targets = _gold_targets(windows, examples)
    likelihood = GoldLikelihood(windows, examples, len(readings))
    rows_of: dict[str, list[int]] = {}  # the readings of each protocol
    readers: dict[str, SpanReader] = {}
    for name, protocol in protocols.items():
        rows_of[name] = [row for row, reading in enumerate(readings) if _belongs(reading, protocol)]
        readers[name] = SpanReader(
            windows, len(rows_of[name]), max_answer_tokens=protocol.max_answer_tokens, merge=protocol.windows
        )
    own = _own_pieces(encoder, windows)
    with Progress("answering", total=sum(map(len, own)), unit="window") as progress, torch.inference_mode():
        for rows in own:
            chunk = encode(encoder, windows, rows)
            logits = _logits(chunk, probes)
            _refuse_infinite(logits, chunk, encoder.name, [examples[question] for question in windows.examples[rows]])
            if labelled:
                logits = torch.cat([logits, _gold_logits(chunk, gold_targets[rows]).to(logits.device)])
            likelihood.read(rows, logits)
            for name, reader in readers.items():
                reader.read(rows, logits[rows_of[name]])
            progress.advance(len(rows))
    read = np.concatenate([np.empty(0, dtype=np.int64), *own])
    for array in (likelihood.nll, *(array for reader in readers.values() for array in reader.arrays)):
        processes.complete(array, read)
    nll = likelihood.of_questions()
    nll[[reading.kind == "gold" for reading in readings]] = np.nan  # a gold span has no likelihood
    contexts = [example.context for example in examples]
    for name, protocol in protocols.items():
        spans = readers.pop(name).spans(contexts)
        if protocol.answer_text == "slice":
            texts = sliced_texts(contexts, spans)
        else:
            texts = joined_wordpieces(encoder.tokenizer, windows, spans)
        answers = Answers(
            readings=[readings[row] for row in rows_of[name]],
            ids=[example.id for example in examples],
            texts=Texts.of(texts, spans.score.shape),
            spans=spans,
            null_threshold=protocol.null_threshold,
            nll=nll[rows_of[name]],
            windows=likelihood.counts(),
        )
        yield name, answers


def _readings(encoder: Encoder, probes: Probes, *, gold: bool) -> list[Reading]:
    """All that is read, in the order of the logits: each layer of each readout, the own head, the gold spans."""
    readings = [Reading("probe", layer, readout) for readout in probes.readouts for layer in range(encoder.layers)]
    if encoder.head:
        readings.append(Reading("head", encoder.layers - 1, None))
    if gold:
        readings.append(Reading("gold", encoder.layers - 1, None))
    return readings


def _belongs(reading: Reading, protocol: Protocol) -> bool:
    """Whether the protocol reads it: the probes of its optimizer, the own head, the gold spans."""
    return reading.readout is None or reading.readout.optimizer == protocol.optimizer


def _own_pieces(encoder: Encoder, windows: Windows) -> list[np.ndarray]:
    """The windows of this process in pieces that are encoded at once, windows of one length together (see encode).

    Processes share whole pieces, because the rounding of a product depends on its size.
    """
    order = np.argsort(windows.lengths, kind="stable")
    every_piece = list(pieces(encoder, windows, order, gib=CHUNK_GIB[encoder.device.type]))
    return every_piece[processes.rank() :: processes.count()]


def _logits(chunk: Chunk, probes: Probes) -> Tensor:
    """Start and end logits (readings, tokens, 2) of all readings but the gold spans."""
    readouts, layers, hidden, _ = probes.weights.shape
    vectors = torch.from_numpy(probes.weights).to(chunk.states.device).permute(1, 0, 3, 2)
    scores = torch.bmm(vectors.reshape(layers, readouts * 2, hidden), chunk.states.float().transpose(1, 2))
    logits = scores.view(layers, readouts, 2, chunk.states.shape[1]).permute(1, 0, 3, 2).flatten(0, 1)
    return logits if chunk.head_logits is None else torch.cat([logits, chunk.head_logits[None]])


def _refuse_infinite(logits: Tensor, chunk: Chunk, model: str, examples: Sequence[Example]) -> None:
    """NumericsError if a logit is not finite; it names the question of the window, `examples` (windows,)."""
    if torch.isfinite(logits.sum()):
        return
    token = int(torch.isfinite(logits.sum((0, 2))).logical_not().nonzero()[0])
    window = int(np.searchsorted(chunk.starts, token, side="right")) - 1
    raise NumericsError(f"model {model}: logits are not finite at question {examples[window].id!r}")


def _gold_targets(windows: Windows, examples: Sequence[Example]) -> np.ndarray:
    """The targets of training, (windows, 2); IGNORED for a window without the answer of a question that has one."""
    answerable = np.array([bool(example.answers) for example in examples])[windows.examples]
    holds_answer = windows.targets[:, 0] != windows.null
    return np.where((answerable == holds_answer)[:, None], windows.targets, IGNORED)


def _gold_logits(chunk: Chunk, targets: np.ndarray) -> Tensor:
    """Logits (1, tokens, 2): 1 at the targets (windows, 2) of the chunk's windows, 0 elsewhere."""
    logits = torch.zeros(1, int(chunk.starts[-1]), 2)
    for (first, last), start in zip(targets.tolist(), chunk.starts[:-1].tolist(), strict=True):
        if first != IGNORED:
            logits[0, start + first, 0] = 1
            logits[0, start + last, 1] = 1
    return logits


def sliced_texts(contexts: list[str], spans: Spans) -> Iterator[list[str]]:
    """Answers as slices of the contexts; for each question, those of all readings."""
    for question, context in enumerate(contexts):
        yield sliced(context, spans.chars[:, question])


def joined_wordpieces(tokenizer: PreTrainedTokenizerFast, windows: Windows, spans: Spans) -> Iterator[list[str]]:
    """Answers as the original study wrote them, the span's tokens joined; for each question, those of all readings.

    For WordPiece that is the slow tokenizer of its day: spaces between all words and signs ("3 . 5"), no accents, lower
    case. The clean-up that today's decoders add is left out on purpose. Other tokenizers restore their text.
    """
    wordpiece = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece"

    @lru_cache(maxsize=1000)  # the readings of a question agree on most spans
    def text(first: int, last: int) -> str:
        tokens = cast(list[str], tokenizer.convert_ids_to_tokens(windows.input_ids[first : last + 1].tolist()))
        joined = " ".join(tokens).replace(" ##", "") if wordpiece else tokenizer.convert_tokens_to_string(tokens)
        return joined.strip()

    for question in range(spans.score.shape[1]):
        tokens = spans.tokens[:, question].tolist()
        there = spans.chars[:, question, 0] >= 0
        yield [text(first, last) if somewhere else "" for (first, last), somewhere in zip(tokens, there, strict=True)]

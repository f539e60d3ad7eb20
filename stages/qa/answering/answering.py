"""Answer questions with every probe on every layer of an encoder, from one forward pass."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from stages.qa import processes
from stages.qa.answering.answers import Answers, Reading, Spans, Texts
from stages.qa.answering.likelihood import GoldLikelihood
from stages.qa.answering.spans import SpanReader
from stages.qa.config import Protocol
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, NO_ANSWER, Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import NumericsError
from stages.qa.probing.readouts import Probes
from stages.qa.progress import Progress
from stages.qa.scratch import filled

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
    readouts, layers = probes.readouts, encoder.layers
    stacked = torch.from_numpy(probes.weights).permute(1, 0, 3, 2).flatten(1, 2).to(encoder.device)
    others: list[Reading] = [Reading("head", layers - 1, None)] if encoder.head else []
    if all(example.is_impossible is not None for example in examples):
        others.append(Reading("gold", layers - 1, None))
    readings: dict[str, list[Reading]] = {}
    readers: dict[str, SpanReader] = {}
    for name, protocol in protocols.items():
        chosen = [readout for readout in readouts if readout.optimizer == protocol.optimizer]
        readings[name] = [Reading("probe", layer, readout) for readout in chosen for layer in range(layers)] + others
        readers[name] = SpanReader(
            windows, len(readings[name]), max_answer_tokens=protocol.max_answer_tokens, merge=protocol.windows
        )
    likelihood = GoldLikelihood(windows, examples, len(readouts) * layers + bool(encoder.head))
    answerable = np.array([bool(example.answers) for example in examples])
    order = np.argsort(windows.lengths, kind="stable")  # windows of one length make whole batches, see encode
    # of several processes, each reads whole pieces: the rounding of a product depends on its size
    every_piece = list(pieces(encoder, windows, order, gib=CHUNK_GIB[encoder.device.type]))
    own = every_piece[processes.rank() :: processes.count()]
    with Progress("answering", total=sum(map(len, own)), unit="window") as progress, torch.inference_mode():
        for rows in own:
            chunk = encode(encoder, windows, rows)
            logits = torch.bmm(stacked, chunk.states.float().transpose(1, 2))  # (layers, readouts * 2, tokens)
            logits = logits.view(layers, len(readouts), 2, int(chunk.starts[-1])).permute(1, 0, 3, 2)
            if not torch.isfinite(logits.sum()):
                at = int(torch.isfinite(logits.sum((0, 1, 3))).logical_not().nonzero()[0])
                row = chunk.rows[np.searchsorted(chunk.starts, at, side="right") - 1]
                example = examples[windows.examples[row]]
                raise NumericsError(f"model {encoder.name}: logits are not finite at question {example.id!r}")
            tail = [] if chunk.head_logits is None else [chunk.head_logits[None]]
            likelihood.read(chunk.rows, torch.cat([logits.flatten(0, 1), *tail]))
            if any(reading.kind == "gold" for reading in others):
                tail.append(_gold_logits(windows, chunk, answerable).to(logits.device))
            for name, protocol in protocols.items():
                chosen_rows = [i for i, readout in enumerate(readouts) if readout.optimizer == protocol.optimizer]
                readers[name].read(chunk.rows, torch.cat([logits[chosen_rows].flatten(0, 1), *tail]))
            progress.advance(len(rows))
    read = np.concatenate([order[:0], *own])
    for array in (likelihood.nll, *(a for reader in readers.values() for a in reader.arrays)):
        processes.complete(array, read)
    contexts = [example.context for example in examples]
    every = [Reading("probe", layer, readout) for readout in readouts for layer in range(layers)] + others
    nll, place = likelihood.of_questions(), {reading: row for row, reading in enumerate(every)}
    for name in protocols:
        reader = readers.pop(name)
        spans = reader.spans(contexts)
        if protocols[name].answer_text == "slice":
            texts = _sliced(contexts, spans)
        else:
            texts = joined_wordpieces(encoder.tokenizer, windows, spans)
        size = len(readings[name]), len(examples)
        of_readings = filled((*size, 2), np.nan, np.float32)  # gold spans have no likelihood
        for row, reading in enumerate(readings[name]):
            if reading.kind != "gold":
                of_readings[row] = nll[place[reading]]
        answers = Answers(
            readings[name],
            [example.id for example in examples],
            Texts.of(texts, size),
            spans,
            protocols[name].null_threshold,
            nll=of_readings,
            windows=likelihood.counts(),
        )
        yield name, answers


def _gold_logits(windows: Windows, chunk: Chunk, answerable: np.ndarray) -> Tensor:
    """Logits (1, tokens, 2) that are 1 at the first gold answer and 0 elsewhere, or 1 at no answer if that is true."""
    logits = torch.zeros(1, int(chunk.starts[-1]), 2)
    for row, start in zip(chunk.rows, chunk.starts, strict=False):
        first, last = windows.targets[row].tolist()
        if first != IGNORED and bool(answerable[windows.examples[row]]) == (first != NO_ANSWER):
            logits[0, start + first, 0] = logits[0, start + last, 1] = 1
    return logits


def _sliced(contexts: list[str], spans: Spans) -> Iterator[list[str]]:
    """The characters of the spans: for each question, those of all readings."""
    for question, context in enumerate(contexts):
        yield [context[first:last] if first >= 0 else "" for first, last in spans.chars[:, question].tolist()]


def joined_wordpieces(tokenizer: PreTrainedTokenizerFast, windows: Windows, spans: Spans) -> Iterator[list[str]]:
    """Answers as the original study wrote them: the span's tokens, joined again; for each question, of all readings.

    For WordPiece that is the slow tokenizer of its day, spaces between all words and signs ("3 . 5", no accents, lower
    case); the clean-up that today's decoders add is left out on purpose. Other tokenizers restore their text.
    """
    wordpiece = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece"

    @cache
    def text(first: int, last: int) -> str:
        pieces = cast(list[str], tokenizer.convert_ids_to_tokens(windows.input_ids[first : last + 1].tolist()))
        joined = " ".join(pieces).replace(" ##", "") if wordpiece else tokenizer.convert_tokens_to_string(pieces)
        return joined.strip()

    for question in range(spans.chars.shape[1]):
        found = zip(spans.tokens[:, question].tolist(), spans.chars[:, question].tolist(), strict=True)
        yield [text(first, last) if start >= 0 else "" for (first, last), (start, _) in found]
        text.cache_clear()  # no other question has these tokens

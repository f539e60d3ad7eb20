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
from stages.qa.answering.gold import GoldLikelihood, TextOf, best_gold_spans
from stages.qa.answering.spans import SpanReader, stripped
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import NumericsError
from stages.qa.probing.probes import token_scores
from stages.qa.probing.readouts import Probes
from stages.qa.progress import progress_bar
from stages.qa.readings import Reading
from stages.qa.sections import Optimizer, Protocol

SURE = 100.0  # logits between the gold span and no answer
CHUNK_GIB = {"cpu": 1 / 16, "cuda": 1}  # hidden states in memory at once


def answer(
    encoder: Encoder, examples: Sequence[Example], windows: Windows, probes: Probes, protocols: Mapping[str, Protocol]
) -> Iterator[tuple[str, Answers]]:
    """Answer all questions under every protocol from one forward pass; the answers of one protocol after the other.

    Raises NumericsError if a logit is not finite, naming model and question.
    """
    labelled = all(example.is_impossible is not None for example in examples)
    readings = _readings(encoder, probes)
    likelihood = GoldLikelihood(windows, examples, len(readings))
    rows_of: dict[Optimizer, list[int]] = {}  # the readings that a protocol with this optimizer has
    readers: dict[tuple[Optimizer, int], SpanReader] = {}  # one for all protocols of one optimizer and longest answer
    for protocol in protocols.values():
        optimizer, longest = protocol.optimizer, protocol.max_answer_tokens
        readouts = [reading.readout for reading in readings]
        rows_of[optimizer] = [i for i, it in enumerate(readouts) if it is None or it.optimizer == optimizer]
        readers[optimizer, longest] = SpanReader(windows, len(rows_of[optimizer]), max_answer_tokens=longest)
    order = np.argsort(windows.lengths, kind="stable")  # windows of one length are encoded together
    every_piece = list(pieces(encoder, windows, order, gib=CHUNK_GIB[encoder.device.type]))
    own = every_piece[processes.rank() :: processes.count()]  # whole pieces: a product's rounding depends on its size
    with progress_bar("answering", total=sum(map(len, own)), unit="window") as progress, torch.inference_mode():
        for rows in own:
            chunk = encode(encoder, windows, rows)
            logits = _logits(chunk, probes, encoder.name, [examples[question] for question in windows.examples[rows]])
            likelihood.read(rows, logits)
            for (optimizer, _), reader in readers.items():
                reader.read(rows, logits[rows_of[optimizer]])
            progress.update(len(rows))
    read = np.concatenate([np.empty(0, dtype=np.int64), *own])
    for array in (likelihood.nll, *(array for reader in readers.values() for array in reader.arrays)):
        processes.complete(array, read)
    nll = likelihood.of_questions()
    contexts = [example.context for example in examples]
    for name, protocol in protocols.items():
        reader, rows_here = readers[protocol.optimizer, protocol.max_answer_tokens], rows_of[protocol.optimizer]
        spans = reader.spans(contexts, merge=protocol.windows)
        text_of = decoder(protocol, encoder.tokenizer, windows, contexts)
        read_here, nll_here = [readings[row] for row in rows_here], nll[rows_here]
        if labelled:
            gold = best_gold_spans(examples, windows, text_of, max_answer_tokens=protocol.max_answer_tokens)
            read_here.append(Reading("gold", encoder.layers - 1, None))
            spans = _with_gold(spans, gold, windows, contexts)
            nll_here = np.concatenate([nll_here, np.full_like(nll, np.nan, shape=(1, *nll.shape[1:]))])
        answers = Answers(
            readings=read_here,
            ids=[example.id for example in examples],
            texts=Texts.of(texts_of(spans, text_of), spans.score.shape),
            spans=spans,
            null_threshold=protocol.null_threshold,
            nll=nll_here,
        )
        yield name, answers


def _readings(encoder: Encoder, probes: Probes) -> list[Reading]:
    """All that is read, in the order of the logits: each layer of each readout, the lens, the own head."""
    readings = [Reading("probe", layer, readout) for readout in probes.readouts for layer in range(encoder.layers)]
    if encoder.head:
        readings += [Reading("lens", layer, None) for layer in range(encoder.heads - 1)]
        readings.append(Reading("head", encoder.layers - 1, None))
    return readings


def _logits(chunk: Chunk, probes: Probes, model: str, examples: Sequence[Example]) -> Tensor:
    """Start and end logits (readings, tokens, 2) of all readings, float32.

    NumericsError if one is not finite; it names the question of the window, `examples` (windows,).
    """
    vectors = torch.from_numpy(probes.weights).to(chunk.states.device).permute(1, 2, 0, 3).flatten(2)
    scores = token_scores(chunk.states.float(), vectors).unflatten(2, (len(probes.readouts), 2))
    logits = torch.cat([scores.permute(2, 0, 1, 3).flatten(0, 1), chunk.head_logits])
    if not torch.isfinite(logits.sum()):
        token = int(torch.isfinite(logits.sum((0, 2))).logical_not().nonzero()[0])
        window = int(np.searchsorted(chunk.starts, token, side="right")) - 1
        raise NumericsError(f"model {model}: logits are not finite at question {examples[window].id!r}")
    return logits


def _with_gold(spans: Spans, gold: np.ndarray, windows: Windows, contexts: list[str]) -> Spans:
    """`spans` and one reading more: `gold` (questions, 2) as `best_gold_spans` gives it, "no answer" where it is -1."""
    there = gold[:, 0] >= 0
    tokens = np.where(there[:, None], gold, 0)
    chars = [
        stripped(context, int(windows.offsets[first, 0]), int(windows.offsets[last, 1])) if known else (-1, -1)
        for context, (first, last), known in zip(contexts, tokens, there, strict=True)
    ]
    return Spans(
        chars=np.concatenate([spans.chars, np.array([chars], np.int32)]),
        tokens=np.concatenate([spans.tokens, tokens[None]]),
        score=np.concatenate([spans.score, np.where(there, SURE, -SURE)[None].astype(np.float32)]),
        null_score=np.concatenate([spans.null_score, np.zeros((1, len(gold)), np.float32)]),
    )


def texts_of(spans: Spans, text_of: TextOf) -> Iterator[list[str]]:
    """For each question, the texts of all readings; "" where there is no span."""
    for question in range(spans.score.shape[1]):
        tokens = spans.tokens[:, question].tolist()
        there = spans.chars[:, question, 0] >= 0
        yield [text_of(question, *span) if known else "" for span, known in zip(tokens, there, strict=True)]


def decoder(protocol: Protocol, tokenizer: PreTrainedTokenizerFast, windows: Windows, contexts: list[str]) -> TextOf:
    """From tokens to text: a slice of the context, or the tokens joined as the original study wrote them.

    For WordPiece that is the slow tokenizer of its day: spaces between all words and signs ("3 . 5"), no accents, lower
    case. The clean-up that today's decoders add is left out on purpose. Other tokenizers restore their text.
    """
    wordpiece = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece"

    def sliced(question: int, first: int, last: int) -> str:
        context = contexts[question]
        start, end = stripped(context, int(windows.offsets[first, 0]), int(windows.offsets[last, 1]))
        return context[start:end]

    @lru_cache(maxsize=1000)  # the readings of a question agree on most spans
    def joined(question: int, first: int, last: int) -> str:
        tokens = cast(list[str], tokenizer.convert_ids_to_tokens(windows.input_ids[first : last + 1].tolist()))
        text = " ".join(tokens).replace(" ##", "") if wordpiece else tokenizer.convert_tokens_to_string(tokens)
        return text.strip()

    return sliced if protocol.answer_text == "slice" else joined

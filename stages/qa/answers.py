"""The answers of every probe on every layer, and of a checkpoint's own head; in and out of a folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from stages.qa.artifacts import read_json, read_tensors, write_json, write_tensors
from stages.qa.config import Protocol
from stages.qa.encoder import Encoder, chunks
from stages.qa.errors import NumericsError
from stages.qa.progress import Progress
from stages.qa.readouts import Probes, Readout
from stages.qa.spans import SpanReader, Spans, null_probability
from stages.qa.squad import Example
from stages.qa.windows import Windows

CHUNK_GIB = 0.25  # hidden states in memory at once


@dataclass(frozen=True)
class Reading:
    """What gave a row of answers: a readout at a layer, or the checkpoint's own head (layer: the last)."""

    layer: int
    readout: Readout | None  # None: the head


@dataclass(frozen=True)
class Answers:
    """Answers of several readings to the same questions."""

    readings: list[Reading]
    ids: list[str]  # of the questions
    texts: list[list[str]]  # (readings, questions): the best span, also where no answer scores higher
    spans: Spans
    null_threshold: float

    def final(self, reading: int) -> dict[str, str]:
        """Question id -> answer, "" where the null score is above the best span's by more than the threshold."""
        refused = self.spans.null_score[reading] - self.spans.score[reading] > self.null_threshold
        return {id_: "" if no else text for id_, text, no in zip(self.ids, self.texts[reading], refused, strict=True)}

    def forced(self, reading: int) -> dict[str, str]:
        """Question id -> best span, whatever the null score."""
        return dict(zip(self.ids, self.texts[reading], strict=True))

    def null_probabilities(self, reading: int) -> dict[str, float]:
        """Question id -> probability of no answer against the best span."""
        return dict(zip(self.ids, null_probability(self.spans)[reading].tolist(), strict=True))


def answer(
    encoder: Encoder,
    examples: Sequence[Example],
    windows: Windows,
    probes: Probes,
    protocols: Mapping[str, Protocol],
) -> dict[str, Answers]:
    """Answer all questions under every protocol from one forward pass.

    Raises NumericsError if a logit is not finite, naming model, layer and question.
    """
    readouts = probes.readouts
    stacked = torch.from_numpy(probes.weights).permute(1, 2, 0, 3).flatten(2).to(encoder.model.device)  # (layers, hidden, 2R)
    readings = {
        name: [
            *(Reading(layer, r) for r in readouts for layer in range(encoder.layers) if r.optimizer == protocol.optimizer),
            *([Reading(encoder.layers - 1, None)] if encoder.has_head else []),
        ]
        for name, protocol in protocols.items()
    }
    readers = {
        name: SpanReader(
            windows, len(readings[name]), max_answer_tokens=protocol.max_answer_tokens, merge=protocol.windows
        )
        for name, protocol in protocols.items()
    }
    order = np.arange(len(windows))
    with Progress("answering", total=len(windows), unit="window") as progress, torch.inference_mode():
        for chunk in chunks(encoder, windows, order, gib=CHUNK_GIB):
            logits = torch.bmm(chunk.states, stacked).unflatten(2, (len(readouts), 2)).permute(2, 0, 1, 3)
            if not torch.isfinite(logits.sum()):
                example = examples[windows.examples[chunk.rows[0]]]
                raise NumericsError(f"model {encoder.name}: logits are not finite near question {example.id!r}")
            for name, protocol in protocols.items():
                chosen = [i for i, readout in enumerate(readouts) if readout.optimizer == protocol.optimizer]
                parts = [logits[chosen].flatten(0, 1)]
                if chunk.head_logits is not None:
                    parts.append(chunk.head_logits[None])
                readers[name].read(chunk.rows, torch.cat(parts))
            progress.advance(len(chunk.rows))
    contexts = [example.context for example in examples]
    found = {}
    for name, reader in readers.items():
        spans = reader.spans(contexts)
        if protocols[name].answer_text == "slice":
            texts = [[c[a:b] if a >= 0 else "" for c, (a, b) in zip(contexts, row, strict=True)] for row in spans.chars]
        else:
            texts = joined_wordpieces(encoder.tokenizer, windows, spans)
        ids = [example.id for example in examples]
        found[name] = Answers(readings[name], ids, texts, spans, protocols[name].null_threshold)
    return found


def joined_wordpieces(tokenizer: PreTrainedTokenizerFast, windows: Windows, spans: Spans) -> list[list[str]]:
    """Answers as the original study wrote them, (readings, questions): the span's tokens, joined again.

    For WordPiece that is the slow tokenizer of its day, spaces between all words and signs ("3 . 5", no accents, lower
    case); the clean-up that today's decoders add is left out on purpose. Other tokenizers restore their text.
    """
    wordpiece = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece"

    @cache
    def text(first: int, last: int) -> str:
        pieces = tokenizer.convert_ids_to_tokens(windows.input_ids[first : last + 1].tolist())
        joined = " ".join(pieces).replace(" ##", "") if wordpiece else tokenizer.convert_tokens_to_string(pieces)
        return joined.strip()

    return [
        [text(first, last) if found else "" for (first, last), found in zip(row, inside, strict=True)]
        for row, inside in zip(spans.tokens.tolist(), (spans.chars[..., 0] >= 0).tolist(), strict=True)
    ]


def save_answers(folder: Path, answers: Answers) -> None:
    """Write everything as arrays, and in the official script's form: one JSON of answers for each layer and epoch.

    Several learning rates or seeds: the official form holds the first of them only.
    """
    unique: dict[str, int] = {}
    index = [[unique.setdefault(text, len(unique)) for text in row] for row in answers.texts]
    tensors = {
        "text": np.array(index, dtype=np.int32),
        "chars": answers.spans.chars,
        "tokens": answers.spans.tokens,
        "score": answers.spans.score,
        "null_score": answers.spans.null_score,
    }
    write_tensors(folder / "answers.safetensors", tensors)
    header = {
        "readings": [asdict(reading) for reading in answers.readings],
        "ids": answers.ids,
        "texts": list(unique),
        "null_threshold": answers.null_threshold,
    }
    write_json(folder / "answers.json", header)
    written = set()
    for row, reading in enumerate(answers.readings):
        place = _official_place(reading)
        if place not in written:
            written.add(place)
            write_json(folder / f"{place}.json", answers.final(row))
            write_json(folder / f"{place}_null_probability.json", answers.null_probabilities(row))


def _official_place(reading: Reading) -> str:
    if reading.readout is None:
        return "head"
    epoch = reading.readout.epoch
    return f"{'optimum' if epoch is None else f'epoch_{epoch}'}/layer_{reading.layer:02d}"


def load_answers(folder: Path) -> Answers:
    """Read what `save_answers` wrote; IntegrityError names the file that is damaged."""
    header = read_json(folder / "answers.json")
    tensors = read_tensors(folder / "answers.safetensors")
    return Answers(
        readings=[
            Reading(row["layer"], None if row["readout"] is None else Readout(**row["readout"]))
            for row in header["readings"]
        ],
        ids=header["ids"],
        texts=[[header["texts"][i] for i in row] for row in tensors["text"].tolist()],
        spans=Spans(**{name: tensors[name] for name in ("chars", "tokens", "score", "null_score")}),
        null_threshold=header["null_threshold"],
    )

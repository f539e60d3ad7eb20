"""Models made of two, without training: up to some layer the base, then the fine-tuned one, and the other way round."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from stages.qa.answering.answering import decoder, texts_of
from stages.qa.answering.answers import Answers, Texts
from stages.qa.answering.spans import SpanReader
from stages.qa.checks.judging import CHUNK_GIB
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder, encode, pieces
from stages.qa.errors import InputError
from stages.qa.progress import progress_bar
from stages.qa.readings import Reading
from stages.qa.sections import Protocol


def graft(tuned: Encoder, base: Encoder, examples: Sequence[Example], windows: Windows, protocol: Protocol) -> Answers:
    """Answers by the head of `tuned` on grafted encoders: for each layer a reading "graft", then "graft_reverse".

    graft at layer k: embeddings and layers 1 to k are the base's, all else that of `tuned`. graft_reverse at layer k:
    the layers after k are the base's, all else that of `tuned`. What stands outside the embeddings and the layers (a
    final norm, embeddings of relative positions, the head) is that of `tuned` in both. The answers have no likelihood
    (NaN) and no gold reading. The encoders are not changed.

    Raises InputError if `tuned` has no head, if its layers share their weights, or if the encoders differ in family,
    shape or vocabulary; NumericsError if a state or a logit is not finite.
    """
    if tuned.head is None:
        raise InputError(f"model {tuned.name}: has no question answering head to read grafts with")
    if _plan(tuned) != _plan(base):
        raise InputError(f"models {tuned.name} and {base.name} differ in family, shape or vocabulary: no grafts")
    parts = _parts(tuned)
    readings = [Reading("graft", layer, None) for layer in range(tuned.layers)]
    readings += [Reading("graft_reverse", layer, None) for layer in range(tuned.layers)]
    mixed = replace(tuned, model=copy.deepcopy(tuned.model), lens=None)
    new_reader = partial(SpanReader, windows, max_answer_tokens=protocol.max_answer_tokens)
    reader = new_reader(len(readings))
    every_piece = list(pieces(mixed, windows, np.arange(len(windows)), gib=CHUNK_GIB))
    with progress_bar("grafting", total=len(readings) * len(windows), unit="window") as progress:
        for row, reading in enumerate(readings):
            # `mixed` is all of `tuned` at first. Part by part it becomes the base, then part by part `tuned` again.
            donor = base if reading.kind == "graft" else tuned
            for name in parts[reading.layer]:
                given = donor.model.base_model.get_submodule(name).state_dict()
                mixed.model.base_model.get_submodule(name).load_state_dict(given)
            one = new_reader(1)
            for rows in every_piece:
                one.read(rows, encode(mixed, windows, rows).head_logits)
                progress.update(len(rows))
            for array, of_one in zip(reader.arrays, one.arrays, strict=True):
                array[row] = of_one[0]
    contexts = [example.context for example in examples]
    spans = reader.spans(contexts, merge=protocol.windows)
    text_of = decoder(protocol, tuned.tokenizer, windows, contexts)
    return Answers(
        readings=readings,
        ids=[example.id for example in examples],
        texts=Texts.of(texts_of(spans, text_of), spans.score.shape),
        spans=spans,
        null_threshold=protocol.null_threshold,
        nll=np.full((*spans.score.shape, 2), np.nan, np.float32),
    )


def _parts(encoder: Encoder) -> list[list[str]]:
    """Names in the base model of what is exchanged at once: the embeddings (two modules in ELECTRA), then each layer.

    InputError if the model has no list of its layers, or fewer modules than layers (ALBERT).
    """
    model, layers = encoder.model.base_model, encoder.layers - 1
    embeddings = [name for name, _ in model.named_children() if name.startswith("embeddings")]
    lists = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if not embeddings or len(lists) != 1:
        kind = encoder.model.config.model_type
        raise InputError(f"model {encoder.name} (type {kind}): its embeddings and {layers} layers are no modules apart")
    return [embeddings, *([f"{lists[0]}.{layer}"] for layer in range(layers))]


def _plan(encoder: Encoder) -> tuple[Any, ...]:
    """What two encoders must have in common."""
    config, parts = encoder.model.config, _parts(encoder)
    shapes = {
        name: [(key, tensor.shape) for key, tensor in encoder.model.base_model.get_submodule(name).state_dict().items()]
        for part in parts
        for name in part
    }
    return config.model_type, config.num_attention_heads, encoder.tokenizer.get_vocab(), shapes

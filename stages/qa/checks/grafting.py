"""Models made of two, without training: up to some layer the base, then the fine-tuned one, and the other way round."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
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
    plain = replace(tuned, lens=None)
    swapped = replace(plain, model=copy.deepcopy(tuned.model))
    for module, of_base in zip(_modules(swapped, parts), _modules(base, parts), strict=True):
        module.load_state_dict(of_base.state_dict())
    reader = SpanReader(windows, len(readings), max_answer_tokens=protocol.max_answer_tokens)
    with progress_bar("grafting", total=len(readings) * len(windows), unit="window") as progress:
        for rows in pieces(plain, windows, np.arange(len(windows)), gib=CHUNK_GIB):
            logits = []
            for below, above in (swapped, plain), (plain, swapped):
                outputs = _outputs(_modules(below, parts), partial(encode, below, windows, rows))
                for layer in range(tuned.layers):
                    with _replayed(_modules(above, parts[: layer + 1]), outputs):
                        logits.append(encode(above, windows, rows).head_logits)
                    progress.update(len(rows))
            reader.read(rows, torch.cat(logits))
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


def _modules(encoder: Encoder, parts: list[list[str]]) -> list[nn.Module]:
    """The modules of an encoder that `parts` names, in order."""
    return [encoder.model.base_model.get_submodule(name) for part in parts for name in part]


def _outputs(modules: list[nn.Module], work: Callable[[], object]) -> list[list[Any]]:
    """What each of `modules` gives during `work`, call by call."""
    outputs: list[list[Any]] = [[] for _ in modules]
    with ExitStack() as hooks:
        for module, calls in zip(modules, outputs, strict=True):
            hooks.enter_context(module.register_forward_hook(lambda *call, calls=calls: calls.append(call[-1])))
        work()
    return outputs


@contextmanager
def _replayed(modules: list[nn.Module], outputs: list[list[Any]]) -> Iterator[None]:
    """Within the block, the modules give what `outputs` begins with, call by call, and do no work."""
    for module, calls in zip(modules, outputs, strict=False):
        left = iter(calls)
        module.forward = lambda *given, left=left, **options: next(left)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


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
    states = [module.state_dict() for module in _modules(encoder, parts)]
    shapes = [(key, tensor.shape) for state in states for key, tensor in state.items()]
    return config.model_type, config.num_attention_heads, encoder.tokenizer.get_vocab(), parts, shapes

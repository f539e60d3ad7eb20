"""A checkpoint's own question answering head: on the encoder's output, and on the states of every layer (the lens)."""

import logging
import re
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.qa.errors import IntegrityError, one_line

logger = logging.getLogger(__name__)


def last_linear(model: PreTrainedModel, name: str) -> nn.Linear:
    """The layer that gives start and end logits; IntegrityError if the head has none."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 2]
    if not layers:
        kind = model.config.model_type
        raise IntegrityError(f"model {name} (type {kind}): its question answering head gives no start and end logits")
    return layers[-1]


def run_with_head(
    model: PreTrainedModel, last: nn.Linear, inputs: Mapping[str, Tensor], *, lens: str | None
) -> tuple[Any, list[Tensor]]:
    """The model's output, and what reaches the `last` linear layer of its head, (batch, tokens, hidden) each.

    That is from the states of each layer, and then from the encoder's output. lens: as `lens_of` gives it; None: from
    the encoder's output alone.
    """
    base = model.base_model
    outputs: list[Any] = []  # of the encoder
    head_inputs: list[Tensor] = []
    note_output = base.register_forward_hook(lambda module, given, output: outputs.append(output))
    note_input = last.register_forward_pre_hook(lambda module, given: head_inputs.append(given[0]))
    with note_output, note_input:
        output = model(**inputs, output_hidden_states=True)
        if lens is not None:
            closing = base.get_submodule(lens) if lens else nn.Identity()
            for states in output.hidden_states[:-1]:
                _run_after_encoder(model, inputs, outputs[0], closing(states))
            _run_after_encoder(model, inputs, outputs[0], outputs[0].last_hidden_state)
    return output, [*head_inputs[1:], head_inputs[0]]


def _run_after_encoder(model: PreTrainedModel, inputs: Mapping[str, Tensor], output: Any, states: Tensor) -> None:
    """Run the model as if its encoder gave `states`, in an output of the kind of `output`, and nothing else."""
    given = type(output)(last_hidden_state=states)
    base = model.base_model
    base.forward = lambda *arguments, **options: given
    try:
        model(**inputs)
    finally:
        del base.forward


@torch.inference_mode()
def lens_of(model: PreTrainedModel, last: nn.Linear, input_ids: Tensor, name: str) -> str | None:
    """Name in the base model of the module that the states of its last layer pass at the end; "" if they pass none.

    None, and a line in the log, if the head cannot be put on other layers: more than one module lies between, or the
    head reads more of the encoder than its output. input_ids (1, tokens): what to try it on.
    """
    inputs = {"input_ids": input_ids}
    try:
        lens = _closing(model, inputs)
        _, head_inputs = run_with_head(model, last, inputs, lens=lens)
        if not torch.equal(head_inputs[-2], head_inputs[-1]):
            raise ValueError("it reads more of the encoder than its output")
    except Exception as error:  # of nearly any type: no model is written to be run in this way
        logger.info("%s: its own head is read at the last layer alone (%s)", name, one_line(error))
        return None
    return lens


def _closing(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> str:
    """As `lens_of`; ValueError if more than one module lies between."""
    calls: list[tuple[str, Tensor | None, Tensor | None]] = []  # module, what it gets and what it gives, sorted

    def note(place: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        calls.append((place, _sorted(given), _sorted(output)))

    with ExitStack() as hooks:
        for place, module in model.base_model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(note, place)))
        output = model.base_model(**inputs, output_hidden_states=True)
    of_layers = [gives for place, _, gives in calls if in_layer(place)]
    end = _sorted(output)
    if not all(_is_among(_sorted(states), of_layers) for states in output.hidden_states[1:-1]):
        raise ValueError("its hidden states are not what its layers give")
    if _is_among(end, of_layers):
        return ""
    for place, gets, gives in calls:
        if _is_among(gets, of_layers) and _is_among(gives, [end]):
            return place
    raise ValueError("more than one module lies between its last layer and its output")


def in_layer(name: str) -> bool:
    """Whether a module or tensor of a base model belongs to one of its layers: these are numbered in all families."""
    return re.search(r"(^|\.)\d+(\.|$)", name) is not None


def _sorted(output: Any) -> Tensor | None:
    """The numbers of a tensor, or of the first of several, sorted: some families swap axes on the way."""
    several = list(output.values()) if isinstance(output, dict) else output
    first = output if isinstance(output, Tensor) else next(iter(several), None)
    return first.flatten().sort().values if isinstance(first, Tensor) else None


def _is_among(one: Tensor | None, others: list[Tensor | None]) -> bool:
    return one is not None and any(other is not None and torch.equal(one, other) for other in others)

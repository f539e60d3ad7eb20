"""Attention among windows of unequal length on a GPU, without a mask: PyTorch's flash kernels take none.

Registered by the interfaces of transformers, so that the models stay the stock ones.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "unpadded"


def use_flash(model: PreTrainedModel) -> None:
    """Have a model in bfloat16, on a GPU, attend by flash kernels, if its family lets that be chosen.

    Not a decoder, nor a family that adds a bias to the scores (DeBERTa, MPNet).
    """
    causal = any(getattr(module, "is_causal", False) for module in model.modules())
    if model._supports_attention_backend and not causal:
        model.set_attn_implementation(NAME)


def _bounds(
    batch_size: int, q_length: int, *, attention_mask: Tensor | None, device: torch.device, **kwargs: Any
) -> Tensor:
    """Where each window and each row's padding begins and ends, in rows laid end to end: (2 * batch_size + 1,) int32.

    Padding, at the end of a row, is made a window of its own, perhaps an empty one: then no token of a window sees it.
    """
    first = torch.arange(0, batch_size * q_length, q_length, device=device)
    lengths = q_length if attention_mask is None else attention_mask.sum(1)
    bounds = torch.stack([first, first + lengths], dim=1).flatten()
    return nn.functional.pad(bounds, (0, 1), value=batch_size * q_length).int()


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query, key, value (batch, heads, tokens, features), bounds for a mask -> (batch, tokens, heads, features)."""
    batch, _, tokens, _ = query.shape
    q, k, v = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))  # views of linear layers' output
    reach = (-1, -1) if sliding_window is None else (sliding_window - 1, sliding_window - 1)  # counted as by flash
    out = varlen_attn(q, k, v, attention_mask, attention_mask, tokens, tokens, scale=scaling, window_size=reach)
    return cast(Tensor, out).unflatten(0, (batch, tokens)), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _bounds)

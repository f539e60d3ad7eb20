"""Attention of windows that lie end to end in one row, on a GPU: no padding, no mask, PyTorch's flash kernel.

Registered by the interface of transformers, so that the models stay the stock ones.
"""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

UNPADDED = "unpadded"


def use_flash(model: PreTrainedModel) -> None:
    """Have a model in bfloat16 on a GPU take windows end to end, if its family lets attention be chosen.

    Not a decoder, nor a family that adds a bias to the scores (DeBERTa, MPNet).
    """
    causal = any(getattr(module, "is_causal", False) for module in model.modules())
    if model._supports_attention_backend and not causal:
        model.set_attn_implementation(UNPADDED)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query, key, value (1, heads, tokens, features) -> (1, tokens, heads, features); no window sees another.

    Window i holds the tokens cu_seq_lens_q[i] to cu_seq_lens_q[i + 1] (int32), max_length_q of them at most.
    """
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    reach = (-1, -1) if sliding_window is None else (sliding_window - 1, sliding_window - 1)  # counted as by flash
    longest = max_length_q, max_length_q
    out = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, *longest, scale=scaling, window_size=reach)
    return cast(Tensor, out)[None], None


AttentionInterface.register(UNPADDED, _attend)

"""Windows as the arguments of a model: a padded batch."""

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from stages.qa.data.windows import Windows


def uses_token_types(config: PretrainedConfig) -> bool:
    """Whether the model tells question from context by segment ids (BERT, ALBERT: yes; RoBERTa, DistilBERT: no)."""
    return getattr(config, "type_vocab_size", 0) > 1


def model_inputs(
    windows: Windows, rows: np.ndarray, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> tuple[dict[str, Tensor], np.ndarray]:
    """The model's arguments for `rows` but for the mask, and which tokens are real: (batch, tokens), int64 and bool.

    NumPy fills them and not torch, which would wake threads for so little, nor the tokenizer, which takes lists.
    """
    lengths = windows.lengths[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    tokens = token_index(windows.starts, rows)
    input_ids = np.full(real.shape, tokenizer.pad_token_id or 0, dtype=np.int64)
    input_ids[real] = windows.input_ids[tokens]
    inputs = {"input_ids": torch.from_numpy(input_ids)}
    if uses_token_types(config):
        token_type_ids = np.zeros(real.shape, dtype=np.int64)
        token_type_ids[real] = windows.token_type_ids[tokens]
        inputs["token_type_ids"] = torch.from_numpy(token_type_ids)
    return inputs, real


def token_index(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of the tokens of `rows` in a packed array whose window w begins at starts[w], (tokens,) int64."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])

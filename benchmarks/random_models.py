"""Encoders with random weights and windows of random tokens: what an encoder costs does not depend on either."""

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModel, PretrainedConfig, PreTrainedTokenizerFast

from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder

QUESTION = 14  # tokens of a window in front of the context
FIRST_ID = 1000  # smaller ones may be special tokens


def random_encoder(config: PretrainedConfig, name: str, *, dtype: torch.dtype, device: str) -> Encoder:
    """The pipeline's encoder around a model of this configuration. Its tokenizer knows padding and nothing else."""
    torch.manual_seed(0)
    with torch.device(device):  # weights are drawn there: a CPU takes minutes for those of ALBERT-xxlarge
        model = AutoModel.from_config(config, dtype=dtype).eval()
    vocabulary = models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]")
    return Encoder(
        model=model,
        device=model.device,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(vocabulary), pad_token="[PAD]", unk_token="[UNK]"),
        head=None,
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=name,
    )


def random_windows(lengths: Sequence[int] | np.ndarray, vocabulary: int) -> Windows:
    """Windows of these lengths with random tokens, each of another question, which has no answer."""
    count = len(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    types = np.ones(starts[-1], dtype=np.uint8)
    for start in starts[:-1]:
        types[start : start + QUESTION] = 0
    return Windows(
        input_ids=np.random.default_rng(0).integers(FIRST_ID, vocabulary, starts[-1], dtype=np.int32),
        token_type_ids=types,
        offsets=np.zeros((starts[-1], 2), dtype=np.int32),
        starts=starts,
        examples=np.arange(count, dtype=np.int32),
        articles=np.zeros(count, dtype=np.int32),
        context=np.stack([np.full(count, QUESTION), np.array(lengths) - 1], axis=-1).astype(np.int32),
        null=np.zeros(count, dtype=np.int64),
        targets=np.zeros((count, 2), dtype=np.int64),
    )

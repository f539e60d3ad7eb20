"""Encoders by their published hyperparameters: no hub is needed to count their operations and parameters.

The study's (Lan et al. 2020, table 1; Devlin et al. 2019, section 3; Sanh et al. 2019; the distilroberta-base card) and
three larger: Liu et al. 2019, section 5; Warner et al. 2024, table 4; Jiang et al. 2023, table 1.
"""

import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    MistralConfig,
    ModernBertConfig,
    PretrainedConfig,
    RobertaConfig,
)


def albert(hidden: int, layers: int, heads: int) -> AlbertConfig:
    return AlbertConfig(
        vocab_size=30000,
        embedding_size=128,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


def roberta(hidden: int, layers: int, heads: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


MINILM = BertConfig(
    vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
)
SHAPES: dict[str, PretrainedConfig] = {
    "ALBERT-base": albert(768, 12, 12),
    "ALBERT-large": albert(1024, 24, 16),
    "ALBERT-xlarge": albert(2048, 24, 16),
    "ALBERT-xxlarge": albert(4096, 12, 64),
    "BERT-base": BertConfig(),
    "BERT-large": BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    "DistilBERT": DistilBertConfig(),
    "DistilRoBERTa": roberta(768, 6, 12),
    "RoBERTa-large": roberta(1024, 24, 16),
    "ModernBERT-large": ModernBertConfig(
        vocab_size=50368, hidden_size=1024, num_hidden_layers=28, num_attention_heads=16, intermediate_size=2624
    ),
    "Mistral-7B": MistralConfig(
        vocab_size=32000,
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
    ),
}


def operations(config: PretrainedConfig) -> tuple[int, int]:
    """Of a forward pass over a window of n tokens: `linear` for each token, `attention` for each pair of tokens.

    Two for each weight of a matrix and token; scores and mixes of values, two each. Norms, activations, softmax and
    look-ups are not counted; nor is what a sliding window or a causal mask could save.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or config.hidden_dim
    matrices = 3 if config.model_type in ("modernbert", "mistral") else 2  # a gate beside the first
    keys = hidden * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    keys //= config.num_attention_heads
    linear = layers * 2 * (2 * hidden * (hidden + keys) + matrices * hidden * inner)
    if config.model_type == "albert":
        linear += 2 * config.embedding_size * hidden
    return linear, layers * 4 * hidden


def parameters(config: PretrainedConfig) -> int:
    """Of the encoder with its embeddings, counted on a model without memory."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModel.from_config(config).parameters())

"""The two sides that are compared: the original's algorithm, and the pipeline through the functions its stages call.

Both start from the same questions and the same checkpoint, already loaded, and end with probes or answers in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from benchmarks.original_features import original_features
from benchmarks.original_probe import OriginalProbe, predict_original, train_original
from benchmarks.timing import Seconds, now
from stages.qa.answering.answering import answer
from stages.qa.answering.answers import Answers
from stages.qa.config import Probe, Protocol
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import train_probes
from stages.qa.probing.readouts import Probes

WINDOWS = {"max_seq_length": 384, "doc_stride": 128, "max_query_length": 64}
LEARNING_RATE, DROPOUT, BATCH = 3e-5, 0.1, 8  # the original's
MEMORY_GIB = 4.0  # of hidden states kept between epochs, as in params.yaml
PAPER = Protocol(
    optimizer="adamw", answer_text="wordpieces", windows="highest", max_answer_tokens=18, null_threshold=0.0
)


@dataclass(frozen=True)
class Original:
    """The checkpoint as the original loads it: float32, and the slow tokenizer."""

    model: PreTrainedModel
    tokenizer: BertTokenizerLegacy

    @classmethod
    def load(cls, folder: Path) -> "Original":
        """With PyTorch's fused attention (SDPA), today's default: eager attention would double the baseline's time."""
        model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
        return cls(model, BertTokenizerLegacy.from_pretrained(folder))

    def new_probes(self, *, lr: float = LEARNING_RATE, dropout: float = DROPOUT) -> list[OriginalProbe]:
        """A probe for each layer but the embeddings."""
        config = self.model.config
        return [OriginalProbe(config.hidden_size, lr=lr, dropout=dropout) for _ in range(config.num_hidden_layers)]

    def train(self, examples: list[Example], *, epochs: int) -> list[Seconds]:
        """Convert and train; returns the time from the start to the end of each epoch."""
        start = now()
        marks: list[Seconds] = []
        _, dataset = original_features(examples, self.tokenizer, training=True, **WINDOWS)
        train_original(
            self.model, dataset, self.new_probes(), epochs=epochs, after_epoch=lambda epoch: marks.append(now())
        )
        return [mark - start for mark in marks]

    def answers(self, examples: list[Example], probes: list[OriginalProbe]) -> list[dict[str, str]]:
        """Answers of layers 1, 2, ... by question id."""
        _, dataset = original_features(examples, self.tokenizer, training=False, **WINDOWS)
        return predict_original(self.model, self.tokenizer, examples, dataset, probes)

    def states(self, examples: list[Example], count: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """Padded hidden states of the first `count` windows, start and end: [layer] (count, 384, hidden), (count,)."""
        _, dataset = original_features(examples, self.tokenizer, training=True, **WINDOWS)
        ids, mask, types, starts, ends = (column[:count] for column in dataset.tensors)
        with torch.no_grad():
            output = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
        return list(output.hidden_states[1:]), starts, ends


def settings(*, epochs: int, rates: tuple[float, ...] = (LEARNING_RATE,), seeds: int = 1) -> Probe:
    """The original's probes in the pipeline's terms."""
    return Probe(
        epochs=epochs,
        batch_size=BATCH,
        learning_rates=list(rates),
        seeds=list(range(seeds)),
        order_seed=0,
        init_std=0.02,
        dropout=DROPOUT,
        max_grad_norm=1.0,
        feature_memory_gib=MEMORY_GIB,
        split="same",
        finetuning_share=0.5,
    )


def windows_of(encoder: Encoder, examples: Iterable[Example]) -> Windows:
    return make_windows(examples, encoder.tokenizer, **WINDOWS)


def train_ours(encoder: Encoder, examples: list[Example], probe: Probe) -> Probes:
    """Text to trained probes of all layers, layer 0 included."""
    return train_probes(Features(encoder, windows_of(encoder, examples), gib=probe.feature_memory_gib), probe)


def answers_ours(encoder: Encoder, examples: list[Example], probes: Probes) -> Answers:
    """Text to answers of all layers, layer 0 included, under the original's protocol."""
    return dict(answer(encoder, examples, windows_of(encoder, examples), probes, {"paper": PAPER}))["paper"]


def as_original(probes: Probes) -> list[OriginalProbe]:
    """The last readout's vectors of layers 1, 2, ... in the original's modules."""
    weights = torch.from_numpy(probes.weights[-1])  # (layers, hidden, 2)
    result = []
    for layer in weights[1:]:
        probe = OriginalProbe(len(layer), lr=LEARNING_RATE, dropout=DROPOUT)
        probe.start.linear.weight.data[0] = layer[:, 0]
        probe.end.linear.weight.data[0] = layer[:, 1]
        result.append(probe)
    return result

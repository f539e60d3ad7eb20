"""The two sides that are compared: the original's algorithm, and the pipeline through the functions its stages call.

Both start from the same questions and a loaded checkpoint, and end with probes or answers in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from transformers import AutoModel, PreTrainedModel
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from benchmarks.original_features import original_features
from benchmarks.original_probe import BATCH, DROPOUT, LEARNING_RATE, OriginalProbe, predict_original, train_original
from stages.qa.answering.answering import answer
from stages.qa.answering.answers import Answers
from stages.qa.config import load_params
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import train_probes
from stages.qa.probing.readouts import Probes
from stages.qa.sections import Probe, Protocol

ROOT = Path(__file__).parents[1]
WINDOWS = {"max_seq_length": 384, "doc_stride": 128, "max_query_length": 64}  # of both sides
MEMORY_GIB = 4.0  # of hidden states that ours keeps between epochs
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

    def features(self, examples: Sequence[Example], *, training: bool) -> TensorDataset:
        """The padded windows of `examples`, as `original_features` describes them."""
        return original_features(examples, self.tokenizer, training=training, **WINDOWS)[1]

    def new_probes(self, *, dropout: float = DROPOUT) -> list[OriginalProbe]:
        """A probe for each layer but the embeddings."""
        config = self.model.config
        return [
            OriginalProbe(config.hidden_size, lr=LEARNING_RATE, dropout=dropout)
            for _ in range(config.num_hidden_layers)
        ]

    def train(self, examples: Sequence[Example], *, epochs: int, dropout: float = DROPOUT) -> None:
        """Text to trained probes."""
        train_original(self.model, self.features(examples, training=True), self.new_probes(dropout=dropout), epochs)

    def answers(self, examples: Sequence[Example], probes: Sequence[OriginalProbe]) -> list[dict[str, str]]:
        """Text to the answers of layers 1, 2, ..., each by question id."""
        dataset = self.features(examples, training=False)
        return predict_original(self.model, self.tokenizer, examples, dataset, probes)

    def states(self, examples: Sequence[Example], count: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """Hidden states, starts and ends of the first `count` windows.

        The states are a list with (count, 384, hidden) float32 for each layer from 1 on. Starts and ends are (count,)
        int64.
        """
        columns = [column[:count] for column in self.features(examples, training=True).tensors]
        ids, mask, types, starts, ends = columns
        with torch.no_grad():
            output = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
        return list(output.hidden_states[1:]), starts, ends


def settings(*, epochs: int, rates: Sequence[float] = (LEARNING_RATE,), seeds: int = 1) -> Probe:
    """The original's probes in the pipeline's terms; what both leave to the method is as in method.yaml."""
    probe = load_params(ROOT / "params.yaml", ROOT / "method.yaml").probe
    changed = {
        "epochs": epochs,
        "batch_size": BATCH,
        "learning_rates": list(rates),
        "seeds": list(range(seeds)),
        "dropout": DROPOUT,
        "feature_memory_gib": MEMORY_GIB,
    }
    return probe.model_copy(update=changed)


def windows_of(encoder: Encoder, examples: Sequence[Example]) -> Windows:
    """Text to token windows."""
    return make_windows(examples, encoder.tokenizer, **WINDOWS)


def train_ours(encoder: Encoder, examples: Sequence[Example], probe: Probe) -> Probes:
    """Text to trained probes of all layers, layer 0 included."""
    return train_probes(Features(encoder, windows_of(encoder, examples), gib=probe.feature_memory_gib), probe)


def answers_ours(encoder: Encoder, examples: Sequence[Example], probes: Probes) -> Answers:
    """Text to answers of all layers, layer 0 included, under the original's protocol."""
    by_protocol = dict(answer(encoder, examples, windows_of(encoder, examples), probes, {"paper": PAPER}))
    return by_protocol["paper"]


def as_original(probes: Probes) -> list[OriginalProbe]:
    """The vectors of layers 1, 2, ... of the last readout, in the original's modules."""
    weights = torch.from_numpy(probes.weights[-1])  # (layers, hidden, 2)
    result = []
    for layer in weights[1:]:
        probe = OriginalProbe(len(layer), lr=LEARNING_RATE, dropout=DROPOUT)
        probe.start.linear.weight.data[0] = layer[:, 0]
        probe.end.linear.weight.data[0] = layer[:, 1]
        result.append(probe)
    return result

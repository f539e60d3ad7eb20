"""Peak memory of one process that trains probes on a random encoder of a given number of layers; prints JSON.

The kept hidden states are bounded by `feature_memory_gib`, so what remains should not grow with the layers but for the
probes, their optimisers' state and the encoder's own weights, which are subtracted.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModel, BertConfig, BertTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.sides import settings, windows_of
from benchmarks.texts import SAMPLE
from benchmarks.timing import timed
from stages.qa.encoder import load_encoder
from stages.qa.features import Features
from stages.qa.probes import train_probes
from stages.qa.snapshots import write_manifest
from stages.qa.squad import read_squad

QUESTIONS = 200
MEMORY_GIB = 0.02  # far below what all states take: they are recomputed in chunks


def make_encoder(folder: Path, layers: int) -> None:
    """A random BERT, hidden 128, with a WordPiece vocabulary learned from the sample."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw.train([str(SAMPLE / "train.json")], trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special))
    tokenizer = BertTokenizer(vocab=raw.get_vocab())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=512,
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, source=f"random, {layers} layers")


def peak_mb() -> float:
    """Largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(layers: int) -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_encoder(folder, layers)
        encoder = load_encoder(folder, device=torch.device("cpu"))
    examples = read_squad(SAMPLE / "train.json", purpose="train")[:QUESTIONS]
    windows = windows_of(encoder, examples)
    with torch.inference_mode():  # libraries and thread pools are set up before the measure starts
        encoder.model(input_ids=torch.zeros(1, 8, dtype=torch.long))
    before = peak_mb()
    features = Features(encoder, windows, gib=MEMORY_GIB)
    assert not features.fits or layers < 3, "all states fit: the bound is not at work"
    spent, _ = timed(lambda: train_probes(features, settings(epochs=1)))
    costs = {
        "forward and 1 epoch of probes, s": spent.wall,
        "peak memory above the loaded encoder, MB": peak_mb() - before,
    }
    print(json.dumps(costs))


if __name__ == "__main__":
    main(int(sys.argv[1]))

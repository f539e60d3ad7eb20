"""Peak memory of a process of its own that trains probes on a random encoder of some number of layers; prints JSON.

The kept hidden states are bounded by `feature_memory_gib`, so what remains should not grow with the layers but for the
probes, their optimisers' state and the encoder's own weights, which are subtracted.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModel, BertConfig, BertTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.sides import BATCH, settings, windows_of
from benchmarks.texts import SAMPLE
from benchmarks.timing import timed
from stages.qa.data.squad import read_squad
from stages.qa.encoding.encoder import load_encoder
from stages.qa.encoding.features import Features
from stages.qa.models.manifest import write_manifest
from stages.qa.probing.probes import train_probes

QUESTIONS = 200
MEMORY_GIB = 0.02  # below what all states of 2 layers take: they are recomputed in chunks
TIME, MEMORY = "forward and 1 epoch of probes, s", "peak memory above the loaded encoder, MB"


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


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (the most so far) of this process; Linux alone.

    Not getrusage's ru_maxrss: a process that is started by a large one inherits its size there.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def main(folder: Path) -> None:
    """Load the encoder in `folder`, train probes on it, print the costs."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    encoder = load_encoder(folder, device=torch.device("cpu"))
    examples = read_squad(SAMPLE / "train.json", purpose="train")
    windows = windows_of(encoder, examples[:QUESTIONS])
    few = windows_of(encoder, examples[:BATCH])
    train_probes(Features(encoder, few, gib=MEMORY_GIB), settings(epochs=1))  # sets up libraries and thread pools
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    features = Features(encoder, windows, gib=MEMORY_GIB)
    if features.fits:
        raise SystemExit("error: all hidden states fit in memory_gib: its bound is not at work")
    spent, _ = timed(lambda: train_probes(features, settings(epochs=1)))
    print(json.dumps({TIME: spent.wall, MEMORY: resident_mb("VmHWM") - before}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

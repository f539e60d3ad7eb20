"""Questions to measure on: all questions of whole paragraphs, of real SQuAD 2.0 where it is at hand."""

import gzip
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.qa.data.squad import Example, read_squad

SAMPLE = Path(__file__).parents[1] / "data" / "sample"


@dataclass(frozen=True)
class Questions:
    """Train and dev questions in the order of their files."""

    source: str
    train: list[Example]
    dev: list[Example]


def read_questions(count: int | None) -> Questions:
    """At least `count` questions of each split, up to the end of a paragraph; None: all questions.

    They come from real SQuAD if the environment variable SQUAD_DIR names its folder, else from data/sample, whose
    paragraphs are half as long.
    """
    folder = os.environ.get("SQUAD_DIR")
    if folder:
        source = "real SQuAD 2.0"
        train = _read_packed(Path(folder) / "train-15k.json.gz", "train")
        dev = _read_packed(Path(folder) / "dev-cs224n.json.gz", "predict")
    else:
        source = "data/sample (SQUAD_DIR not set)"
        train = read_squad(SAMPLE / "train.json", purpose="train")
        dev = read_squad(SAMPLE / "dev.json", purpose="predict")
    return Questions(source, _whole_paragraphs(train, count), _whole_paragraphs(dev, count))


def _read_packed(path: Path, purpose: Literal["train", "predict"]) -> list[Example]:
    with tempfile.TemporaryDirectory() as work:
        unpacked = Path(work) / "questions.json"
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
        return read_squad(unpacked, purpose=purpose)


def _whole_paragraphs(examples: list[Example], count: int | None) -> list[Example]:
    """The first `count` examples, and the rest of the last paragraph."""
    if count is None or count >= len(examples):
        return examples
    end = count
    while end < len(examples) and examples[end].paragraph == examples[end - 1].paragraph:
        end += 1
    return examples[:end]

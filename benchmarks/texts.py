"""Questions to measure on: all questions of whole paragraphs, of real SQuAD 2.0 where it is at hand."""

import gzip
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.qa.data.squad import Example, read_squad

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
REAL = {"train": "train-15k.json.gz", "dev": "dev-cs224n.json.gz"}  # in the folder that SQUAD_DIR names


@dataclass(frozen=True)
class Texts:
    """Train and dev questions in the order of their files."""

    name: str
    train: list[Example]
    dev: list[Example]


def read_texts(questions: int | None) -> Texts:
    """`questions` (None: all) or a few more of each split: a paragraph is never cut, nor left out on the way.

    Real SQuAD if the environment variable SQUAD_DIR is set, else data/sample, whose paragraphs are half as long.
    """
    folder = os.environ.get("SQUAD_DIR")
    name = "real SQuAD 2.0" if folder else "data/sample (SQUAD_DIR not set)"
    train = _read(folder, "train", "train")
    dev = _read(folder, "dev", "predict")
    return Texts(name, list(_paragraphs(train, questions)), list(_paragraphs(dev, questions)))


def _read(folder: str | None, split: str, purpose: Literal["train", "predict"]) -> list[Example]:
    if folder is None:
        return read_squad(SAMPLE / f"{split}.json", purpose=purpose)
    with tempfile.TemporaryDirectory() as work:
        unpacked = Path(work) / f"{split}.json"
        unpacked.write_bytes(gzip.decompress((Path(folder) / REAL[split]).read_bytes()))
        return read_squad(unpacked, purpose=purpose)


def _paragraphs(examples: list[Example], questions: int | None) -> Iterator[Example]:
    for place, example in enumerate(examples):
        if questions is not None and place >= questions and example.paragraph != examples[place - 1].paragraph:
            return
        yield example

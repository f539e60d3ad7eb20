"""Where the numbers come from: checksums, settings, versions. Nothing here changes from run to run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.qa.config import Finetuning
from stages.qa.data_sections import DataFile, Dataset
from stages.qa.files import read_json
from stages.qa.models.manifest import checksum
from stages.qa.report.lineage import Lineage

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
    articles: str  # which of the source's


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


def collect(
    data_dir: Path,
    dataset: Dataset,
    models_dir: Path,
    family: Lineage,
    finetuned: Mapping[str, Finetuning],
    requirements: Path,
) -> Provenance:
    """The files of `data_dir`, the models of `family` as described in `models_dir`, the pins of `requirements`."""
    models = model_records(models_dir, family, finetuned)
    return Provenance(data_records(data_dir, dataset), models, pinned_versions(requirements))


def data_records(folder: Path, dataset: Dataset) -> list[DataFileRecord]:
    """The files of `folder`, hashed."""
    share = dataset.threshold_share
    used = {"train.json": (dataset.train, f", less {share:.0%}" if share else ""), "dev.json": (dataset.dev, "")}
    if share:
        used["held_out.json"] = dataset.train, f", {share:.0%} of them: for thresholds"
    found = []
    for name, (file, part) in used.items():
        path, articles = folder / name, "all" if file.articles is None else f"first {file.articles}"
        source = file.source if isinstance(file, DataFile) else " + ".join(shard.source for shard in file.shards)
        found.append(DataFileRecord(name, source, checksum(path), path.stat().st_size, articles + part))
    return found


def model_records(folder: Path, family: Lineage, finetuned: Mapping[str, Finetuning]) -> list[ModelRecord]:
    """One record per model of `family`, from folder/<key>.json, as `descriptions.describe_model` made them."""
    found = []
    for key, kind in family.kinds.items():
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
        elif key in family.seeds:
            settings = f"weights drawn with seed {family.seeds[key]}"
        found.append(ModelRecord(key, kind, record["source"], record["model_type"], weights, settings))
    return found


def pinned_versions(requirements: Path, names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Library -> version, as requirements.txt pins them."""
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    return {name: pins[name] for name in names if name in pins}

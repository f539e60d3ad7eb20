"""Where the numbers come from: checksums, settings, versions. Nothing here changes from run to run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.qa.config import Params
from stages.qa.errors import InputError
from stages.qa.models.manifest import checksum
from stages.qa.report.findings import lineage
from stages.qa.report.html import Table
from stages.qa.sections import Dataset

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy", "pandas", "dvc")


def sources(
    params: Params, runs: Mapping[str, Mapping[str, dict[str, Any]]], data_dir: Path, requirements: Path
) -> dict[str, Any]:
    """Tables of the files of `data_dir` and of the models, and the versions that `requirements` pins.

    runs: model -> run -> what the predict stage writes to model.json. InputError if a file of questions is missing.
    """
    records = {run: record for of_model in runs.values() for run, record in of_model.items()}
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    return {
        "files": file_table(data_dir, params.datasets[params.dataset]),
        "models": model_table(records, params),
        "weights": weights_table(records),
        "versions": {name: pins[name] for name in LIBRARIES if name in pins},
    }


def file_table(folder: Path, dataset: Dataset) -> Table:
    """The files of questions in `folder`: where they are from, which articles they hold, and their checksums."""
    rows = []
    for name, file in (("train.json", dataset.train), ("dev.json", dataset.dev)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing; run the dataset stage again")
        articles = "all" if file.articles is None else f"first {file.articles}"
        rows.append([name, file.source, articles, checksum(folder / name)])
    return Table(["file", "source", "articles", "sha256"], rows, names=4)


def model_table(records: Mapping[str, Mapping[str, Any]], params: Params) -> Table:
    """The runs: source (hub:name@commit, wheel:name==version, finetune:base, ...) and settings."""
    family = lineage(list(records), params.encoders, params.finetuned)
    rows = []
    for key, record in records.items():
        settings = "as fetched"
        if key in params.finetuned:
            run = params.finetuned[key]
            settings = (
                f"from {run.base}: {run.num_train_epochs} epochs, batch {run.train_batch_size}"
                f" × {run.gradient_accumulation_steps}, learning rate {run.learning_rate:g}, seed {run.seed}"
            )
        elif key in family.seeds:
            settings = f"weights drawn with seed {family.seeds[key]}"
        gold = record["gold"]
        back = f"{gold['came_back']:,} of {gold['questions']:,}"
        rows.append([key, family.kinds[key], record["model_type"], record["source"], settings, back])
    head = ["model", "kind", "architecture", "source", "settings", "gold answers that its tokens give back"]
    return Table(head, rows, names=5)


def weights_table(records: Mapping[str, Mapping[str, Any]]) -> Table:
    """The files of weights and their checksums."""
    rows = []
    for key, record in records.items():
        for name, file in record["files"].items():
            if name.endswith((".safetensors", ".bin")):
                rows.append([key, name, f"{file['bytes']:,}", file["sha256"]])
    return Table(["model", "file", "bytes", "sha256"], rows, names=4)

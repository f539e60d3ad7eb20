"""Fetch one data set or one encoder of params.yaml, by checksum."""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import entry, load_params
from stages.qa.models.manifest import verify_snapshot, write_manifest
from stages.qa.sources.fetch import fetch_questions, fetch_snapshot


def dataset(key: str, out_dir: Path) -> None:
    """Fetch train.json and dev.json of datasets.KEY into OUT_DIR, and read each as what it is for."""
    settings = entry(load_params().datasets, key, "datasets")
    fetch_questions(settings.train, out_dir / "train.json", purpose="train")
    fetch_questions(settings.dev, out_dir / "dev.json", purpose="predict")


def encoder(key: str, out_dir: Path) -> None:
    """Fetch the checkpoint encoders.KEY into OUT_DIR, with newly drawn weights if it is a random twin."""
    settings = entry(load_params().encoders, key, "encoders")
    fetch_snapshot(settings.sources, out_dir, sha256=settings.sha256)
    if settings.seed is not None:
        from stages.qa.models.checkpoints import randomise  # imported here because torch takes seconds

        randomise(out_dir, seed=settings.seed)
    if not settings.probes:
        write_manifest(out_dir, verify_snapshot(out_dir)["source"], probes=False)


if __name__ == "__main__":
    run(dataset, encoder)

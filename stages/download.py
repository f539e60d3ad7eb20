"""Fetch one data set or one encoder of params.yaml, by checksum.

params.yaml, data/sample or the network -> data/squad/<key>/{train,held_out,dev}.json or data/models/<key>
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import entry, load_params
from stages.qa.data.squad import Purpose, hold_out, keep_articles
from stages.qa.models.checkpoints import randomise
from stages.qa.sections import Shards
from stages.qa.sources.fetch import fetch_file, fetch_shards, fetch_snapshot
from stages.qa.sources.shards import join_shards


def dataset(key: str, out_dir: Path) -> None:
    """Fetch train.json and dev.json of datasets.KEY into OUT_DIR; held_out.json is cut from train.json."""
    settings = entry(load_params().datasets, key, "datasets")
    for name, questions in (("train.json", settings.train), ("dev.json", settings.dev)):
        out = out_dir / name
        if isinstance(questions, Shards):
            shards = fetch_shards([(s.source, s.checksum) for s in questions.shards], out_dir / ".shards")
            purpose: Purpose = "train" if name == "train.json" else "predict"
            join_shards(shards, out, purpose=purpose, articles=questions.articles)
            continue
        fetch_file(questions.source, out, digest=questions.checksum)
        if questions.articles is not None:
            keep_articles(out, questions.articles)
    hold_out(out_dir / "train.json", out_dir / "held_out.json", settings.threshold_share)


def encoder(key: str, out_dir: Path) -> None:
    """Fetch the checkpoint encoders.KEY into OUT_DIR."""
    settings = entry(load_params().encoders, key, "encoders")
    fetch_snapshot(settings.sources, out_dir, sha256=settings.sha256)
    if settings.seed is not None:
        randomise(out_dir, seed=settings.seed)


if __name__ == "__main__":
    run(dataset, encoder, out="out_dir")

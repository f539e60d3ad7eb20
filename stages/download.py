"""Fetch one data set or one encoder of params.yaml, by checksum.

params.yaml, data/sample or the network -> data/squad/<key>/{train,dev}.json or data/models/<key>
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.config import entry, load_params
from stages.qa.data.squad import keep_articles, read_squad
from stages.qa.models.checkpoints import randomise
from stages.qa.sources.fetch import fetch_questions, fetch_snapshot


def dataset(key: str, out_dir: Path) -> None:
    """Fetch train.json and dev.json of datasets.KEY into OUT_DIR, and read them: a wrong file is refused here."""
    settings = entry(load_params().datasets, key, "datasets")
    for name, purpose, questions in (("train", "train", settings.train), ("dev", "predict", settings.dev)):
        out = out_dir / f"{name}.json"
        fetch_questions(questions.source, out, digest=questions.checksum)
        if questions.articles is not None:
            keep_articles(out, questions.articles)
        read_squad(out, purpose=purpose)


def encoder(key: str, out_dir: Path) -> None:
    """Fetch the checkpoint encoders.KEY into OUT_DIR, with newly drawn weights if its parameters have a seed."""
    settings = entry(load_params().encoders, key, "encoders")
    fetch_snapshot(settings.sources, out_dir, sha256=settings.sha256)
    if settings.seed is not None:
        randomise(out_dir, seed=settings.seed)


if __name__ == "__main__":
    run(dataset, encoder)

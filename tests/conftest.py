"""What several test modules share: tiny checkpoints, the sample's questions, and real SQuAD where it is at hand."""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers.utils import logging as transformers_logging

from stages.qa.data.squad import Example, read_squad
from tests.faults.launcher import Launcher
from tests.tiny_models import SAMPLE, make_tiny

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
settings.register_profile("no deadline", deadline=None)  # machines may be busy
settings.load_profile("no deadline")

CPU = torch.device("cpu")
TinyModel = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """tiny_model(family, head=False) -> folder of a tiny checkpoint, made once a session: not to be written to."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str, *, head: bool = False) -> Path:
        place = root / (f"{family}-head" if head else family)
        return place if place.exists() else make_tiny(family, place, head=head)

    return folder


@pytest.fixture
def tiny_copy(tiny_model: TinyModel, tmp_path: Path) -> TinyModel:
    """tiny_copy(family, head=False) -> a tiny checkpoint that the test may damage."""
    return lambda family, **kwargs: Path(shutil.copytree(tiny_model(family, **kwargs), tmp_path / f"tiny-{family}"))


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Stages as processes that share one import of torch."""
    there = Launcher(tmp_path_factory.mktemp("jobs"))
    yield there
    there.close()


@pytest.fixture(scope="session")
def sample() -> list[Example]:
    """The training questions of data/sample."""
    return read_squad(SAMPLE, purpose="train")


@pytest.fixture(scope="session")
def squad_dir() -> Path:
    """The folder with real SQuAD 2.0, or a skipped test."""
    folder = os.environ.get("SQUAD_DIR")
    if not folder:
        pytest.skip("SQUAD_DIR names no folder with dev-cs224n.json.gz and train-15k.json.gz")
    return Path(folder)


@pytest.fixture(scope="session")
def squad_dev(squad_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """The 6,078 questions of the CS224N dev split."""
    path = tmp_path_factory.mktemp("squad") / "dev.json"
    path.write_bytes(gzip.decompress((squad_dir / "dev-cs224n.json.gz").read_bytes()))
    return read_squad(path, purpose="score")

"""Revisions of zeros are replaced by the hub's commit, or nothing is written."""

from pathlib import Path

import pytest

from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import UNPINNED
from stages.qa.sources.fetch import fetch_snapshot
from stages.qa.sources.pinning import pin
from tests import hub_lookalike


def test_zeros_become_the_hubs_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/config.json").write_text("{}")
    study = tmp_path / "study.yaml"
    study.write_text(f"a: hub:org/one@{UNPINNED}\nb: hub:org/two@{'1' * 40}\nc: hub:org/one@{UNPINNED}\n")
    with hub_lookalike.serve({"org/one": tmp_path / "repo"}) as hub:
        hub.use(monkeypatch, tmp_path / "home")
        commit = hub_lookalike.REVISION
        assert pin(study) == [f"{study}: hub:org/one@{commit}"]
        assert study.read_text() == f"a: hub:org/one@{commit}\nb: hub:org/two@{'1' * 40}\nc: hub:org/one@{commit}\n"
        assert pin(study) == [f"{study}: every hub source is pinned already"]
        study.write_text(before := f"a: hub:org/one@{UNPINNED}\nb: hub:org/none@{UNPINNED}\n")
        with pytest.raises(IntegrityError, match=r"hub:org/none cannot be pinned"):
            pin(study)
        assert study.read_text() == before


def test_an_unpinned_source_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"not pinned yet; run python -m stages.pin"):
        fetch_snapshot([f"hub:org/one@{UNPINNED}"], tmp_path / "m", sha256={})

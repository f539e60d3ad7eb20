"""What goes to the hub, against a stand-in on the loopback interface."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from stages.qa.errors import InputError, IntegrityError
from stages.qa.files import write_json
from stages.qa.models.manifest import checksum, write_manifest
from stages.qa.uploading import PROBES, is_taken, upload, upload_plan
from tests import hub_lookalike
from tests.page_example import ROOT, build


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "data/models/tuned"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    write_json(folder / "config.json", {"model_type": "bert"})
    write_manifest(folder, "finetune:base")
    return folder


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    folder = tmp_path / "data/probes/tuned"
    folder.mkdir(parents=True)
    for name in PROBES:
        (folder / name).write_text(name)
    return folder


def test_the_plan_is_checked(model: Path, probes: Path) -> None:
    plan = upload_plan(model, probes)
    assert list(plan) == ["config.json", "manifest.json", "model.safetensors", *(f"probes/{name}" for name in PROBES)]
    (probes / "readouts.json").unlink()
    with pytest.raises(IntegrityError, match=r"readouts\.json: missing"):
        upload_plan(model, probes)
    (model / "model.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(IntegrityError, match="sha256"):
        upload_plan(model, None)


def test_upload(model: Path, probes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with hub_lookalike.serve({}) as hub:
        hub.use(monkeypatch, tmp_path / "hf")
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        assert not is_taken("me/tuned", endpoint=hub.url)
        url = upload("me/tuned", upload_plan(model, probes), "---\ntags: []\n---\n# Card", endpoint=hub.url)
        assert url == f"{hub.url}/me/tuned/commit/{hub_lookalike.REVISION}"
        assert hub.made[0] | {"name": "tuned", "organization": "me", "visibility": "private"} == hub.made[0]
        assert hub.received["me/tuned/model.safetensors"] == b"weights"
        assert hub.received["me/tuned/probes/loss.csv"] == b"loss.csv"
        assert hub.received["me/tuned/README.md"].endswith(b"# Card")
        assert len(hub.received) == 3 + len(PROBES) + 1
        hub.fault("403", "/commit/main")
        with pytest.raises(IntegrityError, match="me/tuned: the upload failed"):
            upload("me/tuned", upload_plan(model, probes), "", endpoint=hub.url)
    with pytest.raises(InputError):
        is_taken("no name", endpoint=hub.url)


def test_dry_run_sends_nothing(model: Path, probes: Path, tmp_path: Path) -> None:
    build(tmp_path)
    taken = tmp_path / "taken"
    shutil.copytree(model, taken)
    with hub_lookalike.serve({"me/taken": taken}) as hub:
        env = os.environ | hub.environment(tmp_path / "hf") | {"PYTHONPATH": str(ROOT)}

        def push(key: str, repo: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "stages.push", key, repo, str(model), str(probes), "metrics"]
            return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

        shown = push("tuned", "me/new")
        assert shown.returncode == 0, shown.stderr
        assert "me/new would be made, private" in shown.stdout
        assert "model.safetensors: 7 bytes" in shown.stdout
        assert "probes/probes.safetensors" in shown.stdout
        assert "me/taken exists" in push("tuned", "me/taken").stdout
        refused = push("base", "me/new")
        assert (refused.returncode, refused.stderr) == (
            2,
            "error: base is no key of finetuned: only what was trained here is sent\n",
        )
        assert {request.method for request in hub.requests} <= {"GET", "HEAD"}
        assert checksum(taken / "model.safetensors") == checksum(model / "model.safetensors")
    card = ModelCard(shown.stdout.partition("README.md:\n")[2].rpartition("\nme/new")[0])
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    # tuned at layer 3 after epoch 2: HasAns 30 x 3, NoAns 90 - 5 x 3
    assert results["F1 on HasAns, probe on layer 3"] == 90
    assert results["F1, probe on layer 3"] == pytest.approx(0.4 * 90 + 0.6 * 75)


def test_the_study_card_is_one_of_the_hub(tmp_path: Path) -> None:
    build(tmp_path)
    text = (tmp_path / "CARD.md").read_text()
    front = YAML(typ="safe").load(text.split("---\n")[1])
    assert [entry["name"] for entry in front["model-index"]] == ["tuned", "base", "noise"]
    assert "<script>" not in text.split("---\n")[2]

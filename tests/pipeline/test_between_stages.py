"""Many models side by side, on Slurm, and results by remotes: the real stages, in clones with a tiny study."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from dvc.repo import Repo
from moto.server import ThreadedMotoServer

from stages import plan
from tests.clones import Clone, make_clone
from tests.faults.launcher import Launcher
from tests.pipeline.test_pipeline import ROOT, definition
from tests.tiny_models import read_yaml, write_yaml

MODELS = ["random", "plain", "tuned"]
OWN = ["probe_train", "predict"]
PARTS = ["squad", "models", "probes", "predictions", "scores"]  # of data/
SBATCH = """#!{python} -SE
# runs a job at once, its tasks side by side, if those it depends on went well; notes what it was told
import json, os, subprocess, sys
from pathlib import Path
place, given, told = Path("{place}"), sys.argv[1:], dict()
while given:
    name, _, value = given.pop(0).partition("=")
    told[name] = given.pop(0) if name == "--wrap" else value
number = len(os.listdir(place)) + 101
job = place / str(number)
text = "#!/bin/sh\\n" + told["--wrap"] if "--wrap" in told else sys.stdin.read()
job.with_suffix(".sh").write_text(text)
before = [json.loads((place / (n + ".json")).read_text()) for n in told.get("--dependency", "").split(":")[1:]]
codes = None
if all(one["codes"] and not any(one["codes"]) for one in before):
    first, _, last = told.get("--array", "0-0").partition("-")
    tasks = [os.environ | {{"SLURM_ARRAY_TASK_ID": str(task)}} for task in range(int(first), int(last) + 1)]
    tasks = [subprocess.Popen(["sh", job.with_suffix(".sh")], env=task, stdout=sys.stderr) for task in tasks]
    codes = [task.wait() for task in tasks]
job.with_suffix(".json").write_text(json.dumps({{"told": told, "codes": codes}}))
job.with_suffix(".sh").unlink()
print(f"{{number}};cluster")
"""
DVC = """#!/bin/sh
# does nothing but to note what it was told; fails, as DVC does, for a stage named in FAIL; waits for MEET models
echo "${CUDA_VISIBLE_DEVICES-none} $*" >> ../calls
case "$*" in *"$FAIL"*) exit 255 ;; esac
case "$*" in *" -s "*) while [ "$(grep -c " -s " ../calls)" -lt "${MEET-0}" ]; do sleep 0.1; done ;; esac
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Clone:
    """A clone in which all stages have run, three models at a time, with its results committed."""
    clone = make_clone(tmp_path_factory.mktemp("whole") / "clone", launcher.folder)
    clone.run("make", "models", "JOBS=3", MEET="3")
    clone.commit()
    return clone


@pytest.fixture
def fresh(tmp_path: Path, launcher: Launcher) -> Clone:
    return make_clone(tmp_path / "clone", launcher.folder)


def lock(clone: Clone) -> dict[str, Any]:
    return read_yaml(clone.root / "dvc.lock")["stages"]


# Which stages run when


def test_a_models_stages_need_only_shared_ones_and_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of models that are trained from one that is trained here."""
    params = read_yaml(ROOT / "params.yaml")
    tuned = params["finetuned"]["minilm-finetuned"]
    chain = {"third": tuned | {"base": "second"}, "second": tuned | {"base": "minilm-finetuned"}, "fourth": tuned}
    params |= {"finetuned": chain | params["finetuned"], "probed": ["third", *params["probed"], "fourth"]}
    params["runs"] = {"third": "third", **params["runs"], "fourth": "fourth"}
    write_yaml(tmp_path / "study.yaml", params)
    (tmp_path / "repo").mkdir()
    with definition(tmp_path / "repo", tmp_path / "study.yaml") as repo:
        monkeypatch.chdir(repo.root_dir)
        plan.shared()
        names = capsys.readouterr().out.split()
        assert set(names) == {"dataset", "download", "finetune@minilm-finetuned", "finetune@second"}
        plan.models()
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [line[-1].split("@")[1] for line in lines] == list(params["runs"])
        shared = reproduced(repo, names)
        for line in lines:
            done = set(shared)
            for name in line:
                (stage,) = repo.stage.collect(name)
                assert {before.addressing for before in repo.index.graph.successors(stage)} <= done, name
                done.add(name)
        rest = {stage.name for stage in repo.index.stages} - shared - {name for line in lines for name in line}
        scored = {f"{name}@{key}" for name in ("evaluate", "examine") for key in params["probed"]}
        assert rest == scored | {"choose@demo", "compare@minilm-finetuned", "report@demo"}


def reproduced(repo: Repo, targets: list[str]) -> set[str]:
    """The stages that `dvc repro TARGETS` takes in."""
    stages = {stage for target in targets for stage in repo.stage.collect(target)}
    return {s.addressing for stage in stages for s in {stage, *nx.descendants(repo.index.graph, stage)}}


def test_three_models_at_once_leave_nothing_to_do(whole: Clone) -> None:
    """Each model's probes have waited for the other two to start; every stage ran once."""
    assert len(whole.ran) == len(lock(whole))
    assert "up to date" in whole.run("dvc", "status")


@pytest.fixture
def noted(fresh: Clone) -> Clone:
    """A clone whose dvc only notes what it is told."""
    (fresh.root / ".venv/bin/dvc").write_text(DVC)
    (fresh.root / ".venv/bin/dvc").chmod(0o755)
    return fresh


def calls(clone: Clone) -> list[str]:
    return (clone.root.parent / "calls").read_text().splitlines()


def test_one_models_failure_stops_no_other_model(noted: Clone) -> None:
    out = noted.run("make", "models", "JOBS=1", code=2, FAIL="probe_train@random")
    assert "Error" in out
    lines = [line.split("repro ")[1] for line in calls(noted)]
    assert lines == ["dataset download", *("-s " + line for line in own_lines())]


def own_lines() -> list[str]:
    own = [[f"{name}@{key}" for name in OWN] for key in MODELS]
    own[2].insert(0, "finetune@tuned")
    return [" ".join(line) for line in own]


def test_each_of_several_gpus_has_a_model(noted: Clone) -> None:
    noted.run("make", "models", "JOBS=3", "GPUS=2", FAIL="nothing", MEET="3")
    assert sorted(line.split()[0] for line in calls(noted) if " -s " in line) == ["0", "0", "1"]
    assert [line for line in calls(noted) if " -s " not in line] == ["none repro dataset download", "none repro"]


# Slurm


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with an sbatch."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(SBATCH.format(python=sys.executable, place=tmp_path / "jobs"))
    (tmp_path / "bin/sbatch").chmod(0o755)
    return tmp_path


def submitted(cluster: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((cluster / "jobs").iterdir())]


def test_the_shell_scripts_are_sound() -> None:
    for script in "examples/slurm.sh", ".ci/run":
        subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
        subprocess.run([Path(sys.executable).with_name("shellcheck"), script], cwd=ROOT, check=True)


def test_jobs_on_slurm_wait_for_one_another(noted: Clone, cluster: Path) -> None:
    out = noted.run("examples/slurm.sh", "--gres=gpu:1", PATH=str(cluster / "bin"), MEET="3", FAIL="nothing")
    assert "submitted: 101 (shared), 102 (models), 103 (last)\n" in out
    first, models, last = submitted(cluster)
    assert first["codes"] == last["codes"] == [0]
    assert models["codes"] == [0, 0, 0]
    assert models["told"]["--dependency"] == "afterok:101"
    assert last["told"]["--dependency"] == "afterok:102"
    assert all(job["told"]["--gres"] == "gpu:1" for job in (first, models, last))


def test_after_a_failed_task_the_last_job_does_not_start(noted: Clone, cluster: Path) -> None:
    noted.run("examples/slurm.sh", PATH=str(cluster / "bin"), FAIL="predict@plain")
    assert [job["codes"] for job in submitted(cluster)] == [[0], [0, 255, 0], None]
    assert sorted(line.split("repro ")[1] for line in calls(noted)) == sorted(
        ["dataset download", *("-s " + line for line in own_lines())]
    )


# Remotes


def test_a_second_clone_has_all_results_from_s3(whole: Clone) -> None:
    """By `dvc pull`; then, with dvc.lock lost and its files with it, by the run cache: by what went into them."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"))
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        other = whole.again("cloud")
        for clone in whole, other:
            clone.run("dvc", "remote", "add", "--local", "--default", "cloud", "s3://bucket/study")
            clone.run("dvc", "remote", "modify", "--local", "cloud", "endpointurl", url)
        whole.run("dvc", "push", "--run-cache", **keys)
        other.run("dvc", "pull", **keys)
        kept = [file for part in PARTS for file in (whole.root / "data" / part).rglob("*") if file.is_file()]
        assert len(kept) > 30
        for file in kept:
            assert (other.root / file.relative_to(whole.root)).read_bytes() == file.read_bytes(), file
        other.run("dvc", "repro")
        assert other.ran == []
        assert other.run("git", "status", "--short") == ""

        (other.root / "dvc.lock").unlink()
        for folder in ".dvc/cache", *(f"data/{part}" for part in PARTS):
            shutil.rmtree(other.root / folder)
        other.run("dvc", "repro", "--pull", "predict@tuned", **keys)
        assert other.ran == []
        entries = lock(whole)
        assert {"finetune@tuned", "probe_train@tuned", "predict@tuned"} <= lock(other).keys()
        assert all(entry == entries[name] for name, entry in lock(other).items())
    finally:
        server.stop()


def test_artifacts_are_outputs_of_the_demo(tmp_path: Path) -> None:
    with definition(tmp_path, ROOT / "params.yaml") as repo:
        artifacts = repo.artifacts.read()["dvc.yaml"]
        outs = [Path(str(out)) for out in repo.index.outs]
        assert artifacts.keys() == {"minilm-finetuned", "minilm-finetuned-probes"}
        for artifact in artifacts.values():
            assert [out for out in outs if out.is_relative_to(artifact.path)], artifact.path


def test_a_tagged_artifact_can_be_had_by_name(whole: Clone, tmp_path: Path) -> None:
    """From the remote: the repository that is named has no file of it."""
    whole.run("dvc", "remote", "add", "--local", "folder", str(tmp_path / "store"))
    whole.run("dvc", "push", "--remote", "folder", "data/models/tuned", "data/probes/tuned/tuned")
    registry = whole.again("registry")
    pipeline = registry.root / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("/minilm-finetuned", "/tuned"))  # as the tiny study calls it
    registry.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    registry.commit()
    demo = {"minilm-finetuned": "models/tuned", "minilm-finetuned-probes": "probes/tuned"}
    told = registry.run("dvc", "artifacts", "get", ".", "minilm-finetuned", "--out", "early", code=1)
    assert "Unable to find artifact 'minilm-finetuned'" in told
    for name, folder in demo.items():
        registry.run("git", "-c", "user.name=t", "-c", "user.email=t", "tag", "-a", f"{name}@v1.0.0", "-m", "first")
        whole.run("dvc", "artifacts", "get", str(registry.root), name, "--out", str(tmp_path / name))
        files = [file for file in (whole.root / "data" / folder).rglob("*") if file.is_file()]
        assert len(files) > 3
        for file in files:
            copy = tmp_path / name / file.relative_to(whole.root / "data" / folder)
            assert copy.read_bytes() == file.read_bytes(), file

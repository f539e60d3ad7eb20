"""Cases 49 to 52: downloads that fail, lie or are killed, and tokens. The hub is tests/hub_lookalike.py."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.qa.models.manifest import verify_snapshot
from tests import hub_lookalike
from tests.faults.launcher import Hook
from tests.faults.study import Study
from tests.hub_lookalike import REVISION, Hub

CANARY = "hf_CANARYcanaryCANARYcanary"
ENCODER = ["download", "encoder", "tiny", "data/models/new"]
DATA = ["download", "dataset", "sample", "data/squad/sample"]


@pytest.fixture
def hub(study: Study) -> Iterator[Hub]:
    """A hub with the tiny encoder as org/tiny, and the study's questions under /files/files."""
    with hub_lookalike.serve({"org/tiny": study.root / "origin", "files": study.root}) as running:
        sources = [f"hub:org/tiny@{REVISION}"]
        study.set(encoders__tiny__sources=sources, encoders__random__sources=sources)
        yield running


def client(study: Study, hub: Hub | None = None, **environment: str) -> list[Hook]:
    """The stage's hub client talks to `hub`, or to a port where nobody answers; its caches are outside the study."""
    url = hub.url if hub else "http://127.0.0.1:9"
    return [("hub", [url, str(study.root.parent / "home"), environment])]


def cached(study: Study, name: str) -> Path:
    folder = study.root.parent / "home/hub/models--org--tiny/snapshots" / REVISION
    return (folder / name).resolve()


def litter(study: Study) -> list[Path]:
    """Parts of downloads in the study. The hub's cache keeps its own, outside."""
    return list(study.root.rglob("*.partial"))


@pytest.mark.parametrize(
    ("kind", "path", "says"),
    [
        ("drop", "model.safetensors", ["no complete answer", "check the network"]),
        ("500", "config.json", ["the server answered 500", "try again later"]),
        ("429", f"revision/{REVISION}", ["the server answered 429", "try again later"]),
        ("401", f"revision/{REVISION}", ["answered 401", "is HF_TOKEN set and valid?"]),
        ("gated", f"revision/{REVISION}", ["gated", "set HF_TOKEN"]),
    ],
)
def test_case_49_hub_faults(study: Study, hub: Hub, kind: str, path: str, says: list[str]) -> None:
    """A connection that breaks, 500, 429, 401, gated: source, reason and hint; a rerun succeeds."""
    hub.fault(kind, path)
    study.refused(3, [f"hub:org/tiny@{REVISION}", *says], *ENCODER, hooks=client(study, hub))
    assert litter(study) == []
    hub.clear()
    study.well(*ENCODER, hooks=client(study, hub))
    verify_snapshot(study.models / "new")


def test_case_49_nobody_there(study: Study, hub: Hub) -> None:
    """No network, with an empty cache and with a full one; data by a URL that is not there."""
    study.refused(3, ["no complete answer: ConnectError", "check the network"], *ENCODER, hooks=client(study))
    study.well(*ENCODER, hooks=client(study, hub))
    first = study.sums("data/models/new")
    hub.requests.clear()
    study.well(*ENCODER, hooks=client(study))
    assert study.sums("data/models/new") == first
    study.set(datasets__sample__dev__source=f"{hub.url}/files/files/absent.json")
    hub.fault("404", "absent.json")
    url = f"{hub.url}/files/files/absent.json"
    study.refused(3, [f"{url}: the server answered 404 (check the address)"], *DATA, hooks=client(study, hub))
    hub.clear()
    hub.fault("drop", "dev.json")
    study.set(datasets__sample__dev__source=f"{hub.url}/files/files/dev.json")
    study.refused(3, ["dev.json: no complete answer"], *DATA, hooks=client(study, hub))
    hub.clear()
    study.well(*DATA, hooks=client(study, hub))
    study.tell("exit 3, source and reason; from the cache without a request; reruns succeed")


def test_case_50_wrong_content(study: Study, hub: Hub) -> None:
    """A body of the same size with another byte, a cached file cut off or changed: found, then mended by a rerun."""
    hub.fault("corrupt", "model.safetensors")
    says = ["model.safetensors: expected sha256", ", got "]
    study.refused(3, says, *ENCODER, hooks=client(study, hub))
    hub.clear()
    study.well(*ENCODER, hooks=client(study, hub))
    good = study.sums("data/models/new")
    weights = (study.root / "origin/model.safetensors").read_bytes()
    for bad in weights[:1000], weights[:-1] + b"\0":
        cached(study, "model.safetensors").write_bytes(bad)
        study.refused(3, says, *ENCODER, hooks=client(study))
        study.well(*ENCODER, hooks=client(study, hub))
        assert study.sums("data/models/new") == good
        assert cached(study, "model.safetensors").read_bytes() == weights
    assert litter(study) == []


def test_case_51_killed_download(study: Study, hub: Hub) -> None:
    """SIGKILL in the middle of a body: nothing half done is used, the rerun succeeds and clears up."""
    hub.fault("stall", "model.safetensors")
    running = study.start(*ENCODER, hooks=client(study, hub))
    running.when(hub.stalled.is_set)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert litter(study), "the kill came too late to test anything"
    assert not (study.models / "new").exists()
    hub.clear()
    study.well(*ENCODER, hooks=client(study, hub))
    verify_snapshot(study.models / "new")
    assert litter(study) == []
    study.tell("1 kill at half a body; the rerun gives the model and leaves no part")


def test_case_52_tokens(study: Study, hub: Hub, tell: Callable[[str], None]) -> None:
    """A token in HF_TOKEN, good, wrong and garbled, with all debug logs; a password in a URL: never in any output."""
    hub.token = CANARY
    printed = ""
    for token, code in (CANARY, 0), (CANARY + "wrong", 3), (CANARY[:12] + "\x0c" + CANARY[12:], 3):
        home = study.root.parent / f"home-{len(token)}"
        hooks: list[Hook] = [("hub", [hub.url, str(home), {"HF_TOKEN": token, "HF_DEBUG": "1"}])]
        hooks += [("debug_log", [])] if token.isprintable() else []  # then httpcore itself would log it
        done = study.run(*ENCODER, hooks=hooks)
        assert done.code == code, done
        printed += done.out + done.err
    secret = hub.url.replace("http://", f"http://user:{CANARY}@") + f"/files/files/dev.json?token={CANARY}"
    study.set(datasets__sample__dev__source=secret)
    hub.fault("404", "dev.json")
    done = study.run(*DATA, hooks=client(study, hub))
    assert done.code == 3
    printed += done.out + done.err
    (study.root / "params.yaml").unlink()  # the user's own file, which held the URL
    assert any(request.authorization == f"Bearer {CANARY}" for request in hub.requests), "it is sent"
    assert "canary" not in printed.lower()
    files = [path for path in study.root.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary" in path.read_bytes().lower()]
    tell(f"sent to the hub; in none of {len(files)} files, {len(printed)} characters of logs")


def test_case_52_token_and_dvc(study: Study, tmp_path: Path) -> None:
    """A token in the environment of `dvc repro`: not in dvc.lock, nor in anything that DVC keeps."""
    study.set(encoders={}, finetuned={}, probed=["x"])
    for command in ["git", "init", "-q"], ["dvc", "init", "-q", "--no-scm", "-f"]:
        run(study.root, command)
    stage = "stages:\n  keep:\n    cmd: cp train.json kept.json\n    deps: [train.json]\n    outs: [kept.json]\n"
    (study.root / "dvc.yaml").write_text(stage)
    run(study.root, ["dvc", "repro", "-q"])
    files = [path for path in study.root.rglob("*") if path.is_file()]
    assert any(path.name == "dvc.lock" for path in files)
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_the_stage_checks_questions_and_marks_a_model_without_probes(study: Study) -> None:
    (study.root / "dev.json").write_text('{"id": "an answer"}')
    study.failed(study.run("download", "dataset", "sample", "data/squad/new"), 2, ["dev.json: "])
    assert [path.name for path in (study.root / "data/squad/new").iterdir()] == ["train.json"]
    study.set(encoders__tiny__probes=False)
    study.well(*ENCODER)
    assert verify_snapshot(study.models / "new")["probes"] is False


def run(cwd: Path, command: list[str]) -> Any:
    import sys

    command = [sys.executable, "-m", *command] if command[0] == "dvc" else command
    return subprocess.run(command, cwd=cwd, env=os.environ | {"HF_TOKEN": CANARY}, check=True, capture_output=True)

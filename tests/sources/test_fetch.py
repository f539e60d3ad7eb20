"""Data files from paths, URLs and the hub. Numbers in names are fault cases."""

import gzip
import hashlib
import logging
from pathlib import Path

import pytest

from stages.qa.data.squad import Example, read_squad
from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import checksum
from stages.qa.sections import DataFile
from stages.qa.sources.fetch import fetch_file, fetch_questions
from tests.hub_lookalike import REVISION, Hub
from tests.sources.conftest import as_row, write_parquet

HF = f"hf://datasets/org/questions@{REVISION}/"


TEXT = b'{"version": "v2.0", "data": []}\n'
TEXT_SHA256 = hashlib.sha256(TEXT).hexdigest()
TEXT_BLOB = hashlib.sha1(b"blob %d\0" % len(TEXT) + TEXT).hexdigest()


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
@pytest.mark.parametrize("sha256", [TEXT_SHA256, TEXT_BLOB, None])
def test_file_from_path_and_url(hub: Hub, web: Path, tmp_path: Path, name: str, sha256: str | None) -> None:
    for source in (str(web / name), f"{hub.url}/files/files/{name}"):
        out = tmp_path / "data" / "squad" / "dev.json"
        fetch_file(source, out, checksum=sha256)
        assert out.read_bytes() == TEXT
        assert [path.name for path in out.parent.iterdir()] == ["dev.json"]
        out.unlink()
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("name", "fault", "sha256", "what"),
    [
        ("absent.json", "404", None, r"the server answered 404 \(check the address\)"),
        ("dev.json", "500", None, r"the server answered 500 \(try again later\)"),
        ("dev.json", "drop", None, r"no complete answer: ChunkedEncodingError \(check the network"),
        ("dev.json", "corrupt", TEXT_SHA256, f"expected sha256 {TEXT_SHA256}, got [0-9a-f]+"),
        ("short.json.gz", None, None, "not a whole gzip file"),
        ("page.json.gz", None, None, "not a whole gzip file"),
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
        fetch_file(f"{hub.url}/files/files/{name}", out, checksum=sha256)
    assert f"{hub.url}/files/files/{name}: " in str(caught.value)
    assert out.read_text() == "the previous one"
    assert [path.name for path in out.parent.iterdir()] == ["dev.json"]
    hub.clear()
    fetch_file(f"{hub.url}/files/files/dev.json", out, checksum=sha256)
    assert out.read_bytes() == TEXT


def test_file_passing_faults_are_survived(hub: Hub, web: Path, tmp_path: Path) -> None:
    hub.fault("drop", "dev.json", times=1)
    fetch_file(f"{hub.url}/files/files/dev.json", tmp_path / "a.json", checksum=TEXT_SHA256)


def test_file_wrong_path_and_wrong_local_content(web: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: no such file"):
        fetch_file("nowhere.json", tmp_path / "a.json", checksum=None)
    with pytest.raises(IntegrityError, match=f"dev.json: expected sha256 {'0' * 64}, got {TEXT_SHA256}"):
        fetch_file(str(web / "dev.json"), tmp_path / "a.json", checksum="0" * 64)
    assert not (tmp_path / "a.json").exists()


def test_case_52_secrets_in_an_address_are_not_shown(
    hub: Hub, web: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("404", "dev.json")
    source = hub.url.replace("http://", "http://user:CANARY@") + "/files/files/dev.json?token=CANARY"
    with caplog.at_level(logging.INFO), pytest.raises(IntegrityError) as caught:
        fetch_file(source, tmp_path / "a.json", checksum=None)
    assert "CANARY" not in str(caught.value) + caplog.text


# Questions

SAMPLE = Path(__file__).resolve().parents[2] / "data/sample/train.json"


def get(source: str | Path, out: Path, *, checksum: str | None = None, articles: int | None = None) -> list[Example]:
    fetch_questions(DataFile(source=str(source), checksum=checksum, articles=articles), out, purpose="train")
    return read_squad(out, purpose="train")


def test_questions_are_copied_cut_and_read(sample: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "squad" / "train.json"
    assert get(SAMPLE, out) == sample
    assert out.read_bytes() == SAMPLE.read_bytes()
    assert get(SAMPLE, out, articles=2) == [example for example in sample if example.article < 2]
    assert [path.name for path in out.parent.iterdir()] == ["train.json"]


@pytest.mark.parametrize("content", ["<!DOCTYPE html><html></html>", '{"some-id": "an answer"}', ""])
def test_what_holds_no_questions_is_refused_and_not_left(tmp_path: Path, content: str) -> None:
    source = tmp_path / "page.json"
    source.write_text(content)
    with pytest.raises(InputError) as caught:
        get(source, tmp_path / "squad" / "train.json")
    assert str(caught.value).startswith(f"{source}: ")
    assert list((tmp_path / "squad").iterdir()) == []


def test_questions_of_the_hub(hub: Hub, sample: list[Example], tmp_path: Path) -> None:
    """Several Parquet files are joined by name; one JSON file is taken as it is; the cache gives both again."""
    rows = [as_row(example) for example in sample]
    half = len(rows) // 2
    write_parquet(tmp_path / "questions/squad/train-0.parquet", rows[:half])
    write_parquet(tmp_path / "questions/squad/train-1.parquet", rows[half:])
    (tmp_path / "questions/train.json").write_bytes(SAMPLE.read_bytes())
    hub.fault("corrupt", "train-1.parquet", times=1)
    with pytest.raises(IntegrityError, match=r"train-1\.parquet: expected sha256|train-1\.parquet: expected git blob"):
        get(f"{HF}squad/train-*.parquet", tmp_path / "a.json")
    assert get(f"{HF}squad/train-*.parquet", tmp_path / "a.json") == sample
    assert get(f"{HF}train.json", tmp_path / "b.json", checksum=checksum(SAMPLE)) == sample
    hub.requests.clear()
    assert get(f"{HF}squad/train-*.parquet", tmp_path / "a.json") == sample
    assert hub.requests == []
    with pytest.raises(InputError, match="only Parquet can be joined"):
        get(f"{HF}*train*", tmp_path / "c.json")
    with pytest.raises(IntegrityError, match="has no file other"):
        get(f"{HF}other", tmp_path / "c.json")
    hub.fault("404")
    with pytest.raises(IntegrityError, match=r"^hf://datasets/org/absent@.*: (no such|the server answered 404)"):
        get(HF.replace("questions", "absent") + "x", tmp_path / "c.json")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a.json", "b.json"]


def test_a_fault_in_parquet_names_the_source(sample: list[Example], tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [as_row(sample[0]), as_row(sample[0])])
    with pytest.raises(InputError, match=f"^{path}: .*ids must be unique"):
        get(path, tmp_path / "squad" / "train.json")
    with pytest.raises(IntegrityError, match=f"^{path}: expected sha256 0000"):
        get(path, tmp_path / "squad" / "train.json", checksum="0" * 64)
    assert list((tmp_path / "squad").iterdir()) == []

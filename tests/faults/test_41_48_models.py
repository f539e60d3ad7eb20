"""Cases 41 to 48: checkpoints that are damaged, foreign or hostile, and their names."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config

from stages.qa.models.manifest import write_manifest
from tests.faults.study import Study

IMPORTS_MIB = 1000


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(study: Study, *says: str, code: int = 3, by: str = "all") -> None:
    """The tiny encoder, whose manifest agrees with its files, is refused by every stage that loads it."""
    write_manifest(study.models / "tiny", source="test")
    commands = [study.predict(probes=False), study.probe_train(), study.finetune()]
    for command in commands if by == "all" else commands[:1]:
        study.refused(code, ["data/models/tiny", *says], *command)


def restore(study: Study) -> Path:
    folder = study.models / "tiny"
    for path in folder.iterdir():
        path.unlink()
    for path in (study.root / "origin").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_case_41_no_tokenizer(study: Study) -> None:
    """The tokenizer's files are missing, where transformers makes an empty one of five tokens."""
    for name in "tokenizer.json", "tokenizer_config.json":
        (study.models / "tiny" / name).unlink()
    refused(study, "tokenizer")


def test_case_42_foreign_weights(study: Study) -> None:
    """A tensor is missing, layers are left over or lacking, another architecture: the first key is listed."""
    folder = study.models / "tiny"
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(study, "lacks 1 tensors", "encoder.layer.1.output.dense.weight")
    for layers, says in (4, "lacks"), (1, "unused"):
        edit(restore(study), num_hidden_layers=layers)
        refused(study, says, "config.json", by="one")
    foreign = GPT2Config(vocab_size=600, n_embd=32, n_layer=2, n_head=4).to_dict() | {"architectures": ["GPT2Model"]}
    (restore(study) / "config.json").write_text(json.dumps(foreign))
    refused(study, by="one")


def test_case_43_damaged_weights(study: Study) -> None:
    """Weights cut off, a header of 2^62 bytes, other bytes of the same size (expected and found sha256)."""
    path = study.models / "tiny/model.safetensors"
    data = path.read_bytes()
    for content in data[:4], data[:-100], (2**62).to_bytes(8, "little") + b"{}":
        path.write_bytes(content)
        refused(study, "weights cannot be loaded", by="one")
    path.write_bytes(data)
    write_manifest(study.models / "tiny", source="test")
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for command in study.predict(probes=False), study.probe_train(), study.finetune():
        study.refused(3, ["data/models/tiny/model.safetensors: expected sha256", ", got "], *command)


def test_case_44_half_precision_weights(study: Study, tell: Callable[[str], None]) -> None:
    """float16 weights and configuration: fine-tuned and probed as float32."""
    folder = study.models / "tiny"
    halves = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder, dtype="float16", torch_dtype="float16")
    write_manifest(folder, source="test")
    study.well(*study.finetune())
    study.well(*study.probe_train())
    trained = load_file(study.models / "tuned/model.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    tell("float32")


class Payload:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.sentinel),)


def test_case_45_hostile_pickles(study: Study) -> None:
    """A pickle that runs code, as pytorch_model.bin and as a probe: refused, and not run."""
    sentinel, folder = study.root / "PWNED", study.models / "tiny"
    (folder / "model.safetensors").unlink()
    for content in pickle.dumps(Payload(sentinel)), pickle.dumps({"weight": Payload(sentinel)}):
        (folder / "pytorch_model.bin").write_bytes(content)
        refused(study)
    torch.save({"a": Payload(sentinel)}, folder / "pytorch_model.bin")
    refused(study, by="one")
    restore(study)
    write_manifest(folder, source="test")
    study.well(*study.probe_train())
    (study.root / "data/probes/tiny/tiny/probes.safetensors").write_bytes(pickle.dumps(Payload(sentinel)))
    study.refused(3, ["probes.safetensors: not a safetensors file"], *study.predict())
    assert not sentinel.exists()


def test_case_46_foreign_code(study: Study) -> None:
    """auto_map names code beside the weights: not run, no prompt (stdin is empty)."""
    sentinel, folder = study.root / "PWNED", study.models / "tiny"
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(sentinel)!r})\nclass Evil: pass\n")
    evil = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForQuestionAnswering"), "evil.Evil")
    edit(folder, auto_map=evil, model_type="evil")
    refused(study, "config.json")
    edit(folder, auto_map=evil, model_type="bert")
    write_manifest(folder, source="test")
    study.run(*study.probe_train())  # transformers' own class of that type is what loads
    assert not sentinel.exists()
    study.tell("unknown type: exit 3; known type: transformers' own class; the code is never run")


def test_case_47_huge_sizes(study: Study, tell: Callable[[str], None]) -> None:
    """A tokenizer.json of 1.5 million tokens, a configuration of 200,000 layers: refused before anything is built."""
    folder = study.models / "tiny"
    vocabulary = {f"token{i}": i for i in range(1_500_000)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocabulary}}))
    write_manifest(folder, source="test")
    peak = study.run(*study.predict(probes=False)).peak_mib
    refused(study, "tokenizer.json", "not this model's")
    for changes in {"num_hidden_layers": 200_000}, {"vocab_size": 10**9}:
        edit(restore(study), **changes)
        refused(study, "config.json", "out of bounds")
        peak = max(peak, study.run(*study.predict(probes=False)).peak_mib)
    assert peak < IMPORTS_MIB
    tell(f"exit 3, peak {peak:.0f} MiB (imports included)")


@pytest.mark.parametrize("place", ["source", "key"])
def test_case_48_hostile_names(place: str, study: Study) -> None:
    """Sources and keys such as .., /etc, a/b/c, "x;touch PWNED", revisions such as ../x: nothing is created."""
    sources = ["hub:..@" + "0" * 40, "hub:a/b/c@" + "0" * 40, "hub:x;touch PWNED@" + "0" * 40, "/etc", ".."]
    sources += ["hub:a/b@../x", "hub:a/b@x;touch PWNED", "wheel:a==1;touch PWNED", "git:a/b"]
    keys = ["..", "/etc", "a/b", "x;touch PWNED", "$(touch PWNED)", "-rf", "a b", ""]
    for odd in sources if place == "source" else keys:
        if place == "source":
            study.set(encoders__tiny__sources=[odd])
        else:
            study.set(encoders={odd: {"sources": ["path:origin"]}})
        study.refused(2, ["params.yaml", "encoders"], "download", "encoder", "tiny", "data/models/new")
    assert not list(study.root.rglob("PWNED"))


def test_case_48_unknown_keys(study: Study) -> None:
    """A key on the command line that params.yaml does not have."""
    study.refused(2, ["encoders has no key '../x', only tiny, random"], "download", "encoder", "../x", "data/models/x")
    study.refused(2, ["datasets has no key 'x'"], "download", "dataset", "x", "data/squad/x")
    command = ["finetune", "x", "data/models/tiny", "data/squad/sample", "data/models/x"]
    study.refused(2, ["finetuned has no key 'x'"], *command)

"""Stages as two real processes (gloo, CPU) give what one process gives."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from ruamel.yaml import YAML
from transformers import AutoModel

from stages.qa.config import load_params
from stages.qa.data.windows import Windows
from stages.qa.errors import InputError
from stages.qa.files import read_json, read_tensors
from stages.qa.finetuning import training as finetuning
from stages.qa.finetuning.resuming import fingerprint
from tests.conftest import TinyModel
from tests.tiny_models import FAMILIES, ROOT, tiny_study

TWO = "accelerate launch --multi_gpu --num_processes 2"  # without a GPU: two processes on the CPU
SHARED = "accelerate launch --use_fsdp --num_processes 2"  # they share the weights that are trained
DATA = "data/squad/sample"
HELPERS = {"small_pieces", "sharded"}  # of tests/, in the place of a stage


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which finetune, probe_train and predict have run, by one process and by two (data2/).

    Two share the weights in training, too (data3/), and an encoder's weights lie on disk (data4/).
    """
    root = tmp_path_factory.mktemp("study")
    params = tiny_study(root, train=3, dev=2, threshold_share=0.0)
    tuned = {"base": "tiny", "num_train_epochs": 1, "train_batch_size": 4, "gradient_accumulation_steps": 2}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | tuned}
    params["finetuned"]["tuned"] |= {"save_steps": 5, "mixed_precision": "no"}
    params["probed"], params["compared"] = ["tuned", "tiny"], {}
    params["probe"] |= {"epochs": 2, "learning_rates": [0.01, 0.001]}
    YAML().dump(params, root / "params.yaml")
    run(root, "", "download", "dataset", "sample", DATA)
    run(root, "", "download", "encoder", "tiny", "data/models/tiny")
    for launcher, out in ("", "data"), (TWO, "data2"):
        run(root, launcher, "finetune", "tuned", "data/models/tiny", DATA, f"{out}/models/tuned")
        for name, gib in ("tuned", 1e-4), ("tiny", 1.0):  # hidden states recomputed in each pass, and kept
            YAML().dump(params | {"probe": params["probe"] | {"feature_memory_gib": gib}}, root / "params.yaml")
            run(root, launcher, "probe_train", f"data/models/{name}", DATA, f"{out}/probes/{name}")
        predicted = "data/models/tuned", DATA, f"{out}/answers/tuned", "--probes", "data/probes/tuned"
        run(root, launcher and SHARED, "small_pieces", *predicted)
    shared = "tuned", "data/models/tiny", DATA, "data3/models/tuned"
    assert "exitcode  : 9" in run(root, SHARED, "sharded", *shared, STOP="1", exit_code=1)
    assert list((root / "data/checkpoints").rglob("pytorch_model_fsdp.bin"))  # they did share them
    assert "from checkpoint-5" in run(root, SHARED, "sharded", *shared)
    on_disk = {"DEVICE_MAP": "cpu=150KiB"}  # of 212
    run(root, "", "probe_train", "data/models/tuned", DATA, "data4/probes/tuned", **on_disk)
    predicted = "data/models/tuned", DATA, "data4/answers/tuned", "--probes", "data/probes/tuned"
    run(root, "", "small_pieces", *predicted, **on_disk)
    return root


def run(root: Path, launcher: str, stage: str, *arguments: str, exit_code: int = 0, **more: str) -> str:
    module = f"tests.{stage}" if stage in HELPERS else f"stages.{stage}"
    command = [sys.executable, "-m", "stages.launch", module, *arguments]
    settings = {"PYTHONPATH": str(ROOT), "LAUNCHER": launcher, "OMP_NUM_THREADS": "1", "QA_DEVICE": "cpu"} | more
    done = subprocess.run(command, cwd=root, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == exit_code, done.stderr
    return done.stderr


def test_the_same_fine_tuned_weights(study: Path) -> None:
    one, two = (read_tensors(study / f"{out}/models/tuned/model.safetensors") for out in ("data", "data2"))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(two[name], one[name], err_msg=name)
    losses = [read_json(study / f"{out}/models/tuned/loss.json") for out in ("data", "data2")]
    assert [row["step"] for row in losses[0]] == [row["step"] for row in losses[1]]
    np.testing.assert_allclose([r["loss"] for r in losses[1]], [r["loss"] for r in losses[0]], rtol=1e-4)


def test_the_same_fine_tuned_weights_where_processes_share_them(study: Path) -> None:
    """Also after a stop. Adding to all logits, or to all keys, changes nothing: such weights move by rounding alone."""
    one, two = (read_tensors(study / f"{out}/models/tuned/model.safetensors") for out in ("data", "data3"))
    assert one.keys() == two.keys()
    rounding = "qa_outputs.bias", "layer.1.output.LayerNorm.bias", "attention.self.key.bias"
    for name in one:
        atol = 1e-3 if name.endswith(rounding) else 1e-6
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=atol, err_msg=name)
    files = [{path.name for path in (study / f"{out}/models/tuned").iterdir()} for out in ("data", "data3")]
    assert files[0] == files[1]
    configs = [(study / f"{out}/models/tuned/config.json").read_bytes() for out in ("data", "data3")]
    assert configs[0] == configs[1]


def test_the_same_bytes_from_weights_on_disk(study: Path) -> None:
    files = sorted(path.relative_to(study / "data4") for path in (study / "data4").rglob("*") if path.is_file())
    assert {file.parts[0] for file in files} == {"answers", "probes"}
    for file in files:
        assert (study / "data4" / file).read_bytes() == (study / "data" / file).read_bytes(), file


@pytest.mark.parametrize("model", ["tuned", "tiny"])
def test_the_same_probes_to_the_rounding_of_sums(study: Path, model: str) -> None:
    probes = [study / f"{out}/probes/{model}" for out in ("data", "data2")]
    one, two = (read_tensors(folder / "probes.safetensors")["weights"] for folder in probes)
    readouts = read_json(probes[0] / "readouts.json")
    assert readouts == read_json(probes[1] / "readouts.json")
    adamw = np.array([readout["optimizer"] == "adamw" for readout in readouts])
    np.testing.assert_allclose(two[adamw], one[adamw], rtol=0, atol=1e-4 * np.abs(one[adamw]).max())
    for certificate in read_json(probes[1] / "certificates.json"):
        assert certificate["gap"] <= 1e-3


@pytest.mark.parametrize("name", ["mixing", "mlp"])
def test_the_same_modules(study: Path, name: str) -> None:
    one, two = (read_tensors(study / f"{out}/probes/tuned/{name}.safetensors") for out in ("data", "data2"))
    for key in one:
        np.testing.assert_allclose(two[key], one[key], rtol=0, atol=1e-3 * np.abs(one[key]).max(), err_msg=key)


def test_the_same_code_lengths(study: Path) -> None:
    one, two = (
        np.genfromtxt(study / f"{out}/probes/tuned/code_length.csv", delimiter=",") for out in ("data", "data2")
    )
    np.testing.assert_allclose(two[1:, 1:], one[1:, 1:], rtol=1e-4)


def test_the_same_bytes_of_answers(study: Path) -> None:
    files = sorted(path.relative_to(study / "data") for path in (study / "data/answers").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (study / "data" / file).read_bytes() == (study / "data2" / file).read_bytes(), file


def test_nothing_is_left_beside_the_outputs(study: Path) -> None:
    names = [
        sorted(path.name for path in (study / out).iterdir())
        for out in ("data2/models", "data2/probes", "data2/answers")
    ]
    assert names == [["tuned"], ["tiny", "tuned"], ["tuned"]]


def test_checkpoints_of_shared_weights_have_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_params(ROOT / "params.yaml").finetuned["minilm-finetuned"]
    one = np.zeros(1, dtype=np.int32)
    windows = SimpleNamespace(input_ids=one, token_type_ids=one, starts=one, targets=one)
    names = set()
    for said in "false", "true":
        monkeypatch.setenv("ACCELERATE_USE_FSDP", said)
        names.add(fingerprint({"files": {}}, cast(Windows, windows), settings))
    assert len(names) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_shared_by_layers(family: str, tiny_model: TinyModel) -> None:
    model = AutoModel.from_pretrained(tiny_model(family))
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    finetuning._shard_by_layers(plugin, model)
    policy = fsdp2_prepare_auto_wrap_policy(plugin, model)
    assert policy
    of_layers = {id(weight) for module in model.modules() if policy(module) for weight in module.parameters()}
    rest = [name for name, weight in model.named_parameters() if id(weight) not in of_layers]
    assert not [name for name in rest if re.search(r"layers?\.\d|attention\.|albert_layer", name)]
    assert "embedding" in " ".join(rest)


@pytest.mark.parametrize(
    ("size", "passes", "shares", "own"), [(4, 2, 2, (4, 1)), (4, 1, 2, (2, 1)), (4, 6, 3, (4, 2)), (6, 2, 3, (2, 2))]
)
def test_a_step_has_the_same_windows(
    size: int, passes: int, shares: int, own: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load_params(ROOT / "params.yaml").finetuned["minilm-finetuned"]
    given = given.model_copy(update={"train_batch_size": size, "gradient_accumulation_steps": passes})
    assert finetuning._shared_batch(given) == (size, passes)
    monkeypatch.setenv("WORLD_SIZE", str(shares))
    assert finetuning._shared_batch(given) == own
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(InputError, match=r"cannot be shared out to 5 processes"):
        finetuning._shared_batch(given)


def test_a_launcher_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.launch", "stages.predict"]
    settings = {"PYTHONPATH": str(ROOT), "LAUNCHER": "no-such-launcher --fast"}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: LAUNCHER=no-such-launcher: no such command\n")

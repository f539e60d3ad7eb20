"""Stages as two real processes (gloo, CPU) give what one process gives."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stages.qa.config import load_params
from stages.qa.errors import InputError
from stages.qa.files import read_json, read_tensors
from stages.qa.finetuning import training as finetuning
from tests.faults.launcher import Launcher
from tests.tiny_models import ROOT, tiny_study, write_yaml

TWO = "accelerate launch --multi_gpu --num_processes 2"  # without a GPU: two processes on the CPU
DATA = "data/squad/sample"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Path:
    """A folder in which finetune, probe_train and predict have run, by one process and by two (data2/)."""
    root = tmp_path_factory.mktemp("study")
    params = tiny_study(root, train=3, dev=2)
    tuned = {"base": "tiny", "num_train_epochs": 1, "train_batch_size": 4, "gradient_accumulation_steps": 2}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | tuned}
    params["probed"], params["compared"] = ["tuned", "tiny"], {}
    params["runs"] = {"tuned": "tuned", "tiny": "tiny"}
    params["effort"]["probe"] |= {"epochs": 2, "learning_rates": [0.01, 0.001], "seeds": [0]}
    params["effort"] |= {"parts": {"validation_share": 0.0}, "convex": {"l2": [0.1]}}
    write_yaml(root / "params.yaml", params)
    one = partial(run, launcher, root, 1)
    one("download", "dataset", "sample", DATA)
    one("download", "encoder", "tiny", "data/models/tiny")
    one("finetune", "tuned", "data/models/tiny", DATA, "data/models/tuned")
    command = ["-m", "stages.launch", "stages.finetune", "tuned", "data/models/tiny", DATA, "data2/models/tuned"]
    settings = {"PYTHONPATH": str(ROOT), "LAUNCHER": TWO, "OMP_NUM_THREADS": "1", "QA_DEVICE": "cpu"}
    subprocess.run([sys.executable, *command], cwd=root, env=os.environ | settings, check=True)
    for name, gib in ("tuned", 1e-4), ("tiny", 1.0):  # hidden states recomputed in each pass, and kept
        params["effort"]["probe"]["feature_memory_gib"] = gib
        write_yaml(root / "params.yaml", params)
        for number, out in (1, "data"), (2, "data2"):
            run(launcher, root, number, "probe_train", f"data/models/{name}", DATA, f"{out}/probes/{name}")
    for number, out in (1, "data"), (2, "data2"):
        answers = f"{out}/answers/tuned"
        run(launcher, root, number, "predict", "data/models/tuned", DATA, "data/probes/tuned", answers)
    return root


def run(launcher: Launcher, root: Path, number: int, *command: str) -> None:
    """A stage in so many processes, as a launcher starts them; those of `predict` have some pieces each to read."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1]), "QA_DEVICE": "cpu"}
    settings["WORLD_SIZE"] = str(number)
    ranks = [settings | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    started = [launcher.start(root, *command, hooks=[("small_pieces", [])], environment=rank) for rank in ranks]
    for done in [process.wait() for process in started]:
        assert done.code == 0, done.err


def test_the_same_fine_tuned_weights(study: Path) -> None:
    one, two = (read_tensors(study / f"{out}/models/tuned/model.safetensors") for out in ("data", "data2"))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(two[name], one[name], err_msg=name)
    losses = [read_json(study / f"{out}/models/tuned/loss.json") for out in ("data", "data2")]
    assert [row["step"] for row in losses[0]] == [row["step"] for row in losses[1]]
    np.testing.assert_allclose([r["loss"] for r in losses[1]], [r["loss"] for r in losses[0]], rtol=1e-4)


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

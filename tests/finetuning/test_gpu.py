"""On a GPU: what a CPU gives, to rounding. Skipped where there is none."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stages import compare, download, evaluate, examine, finetune, predict, probe_train
from stages.qa.data.squad import Example
from stages.qa.data.windows import make_windows
from stages.qa.encoding import encoder
from stages.qa.encoding.encoder import encode, in_precision, load_encoder
from stages.qa.files import read_json, read_tensors
from stages.qa.models.checkpoints import pick_device
from tests.conftest import CPU, TinyModel
from tests.tiny_models import FAMILIES, tiny_study, write_yaml

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
TABLES = [f"{key}/examine/{name}" for key in ("tiny", "tuned") for name in ("controls", "similarity")]
TABLES += ["tuned/compare/similarity", "tuned/compare/differences"]


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_windows_of_unequal_length(
    family: str, head: bool, tiny_model: TinyModel, sample: list[Example]
) -> None:
    exact = load_encoder(tiny_model(family, head=head), device=CPU)
    windows = make_windows(sample[:30:3], exact.tokenizer, max_seq_length=96, doc_stride=40, max_query_length=32)
    rows = np.arange(len(windows))
    expected = encode(exact, windows, rows)
    on_gpu = load_encoder(tiny_model(family, head=head), device=pick_device())
    half = in_precision(on_gpu, windows, "bf16")
    for other, tolerance in (on_gpu, 1e-4), (half, encoder.TOLERANCE):
        found = encode(other, windows, rows)
        error = (found.states.float().cpu() - expected.states).square().mean((1, 2)).sqrt()
        assert (error <= tolerance * expected.states.square().mean((1, 2)).sqrt()).all()
        if head:
            torch.testing.assert_close(found.head_logits.cpu(), expected.head_logits, rtol=0, atol=5 * tolerance)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages that use an encoder have run in float32, on the CPU (cpu/) and on the GPU (gpu/)."""
    root = tmp_path_factory.mktemp("study")
    params = tiny_study(root, train=4, dev=2)
    tuned = {"base": "tiny", "num_train_epochs": 1}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | tuned}
    params["probed"], params["compared"] = ["tuned", "tiny"], {"tuned": "tiny"}
    params["runs"] = {"tuned": "tuned", "tiny": "tiny"}
    params["effort"]["probe"] |= {"epochs": 2, "learning_rates": [0.01, 0.001]}
    params["effort"]["examine"] |= {"training_questions": 20, "dev_questions": 15, "epochs": 2, "cka_tokens": 300}
    write_yaml(root / "params.yaml", params)
    before = Path.cwd()
    os.chdir(root)
    try:
        data = Path("data")
        download.dataset("sample", data)
        download.encoder("tiny", Path("tiny-model"))
        for device in "cpu", "gpu":
            os.environ["QA_DEVICE"], place = device, Path(device)
            models = {"tiny": Path("tiny-model"), "tuned": place / "tuned"}
            finetune.main("tuned", models["tiny"], data, models["tuned"])
            models["tuned"] = Path("cpu/tuned")  # the same for both
            for key, model in models.items():
                probes, answers = place / "probes" / key, place / "answers" / key
                probe_train.main(model, data, probes)
                tables, scores = place / "metrics" / key, place / "scores" / key
                predict.main(model, data, probes, answers)
                summary = place / f"{key}.json"
                evaluate.main(key, model, probes, data, answers, summary, tables / "evaluate", scores)
                examine.main(key, model, data, tables / "examine")
            pair = models["tuned"], models["tiny"], place / "scores/tuned", place / "scores/tiny"
            compare.main("tuned", "tiny", *pair, data, place / "metrics/tuned/compare")
    finally:
        os.environ.pop("QA_DEVICE", None)
        os.chdir(before)
    return root


def test_fine_tuning(study: Path) -> None:
    cpu, gpu = ([row["loss"] for row in read_json(study / f"{device}/tuned/loss.json")] for device in ("cpu", "gpu"))
    np.testing.assert_allclose(gpu, cpu, rtol=1e-2)


@pytest.mark.parametrize("key", ["tiny", "tuned"])
def test_probes(study: Path, key: str) -> None:
    cpu, gpu = (study / f"{device}/probes/{key}" for device in ("cpu", "gpu"))
    readouts = read_json(cpu / "readouts.json")
    assert readouts == read_json(gpu / "readouts.json")
    adamw = np.array([readout["optimizer"] == "adamw" for readout in readouts])
    one, two = (read_tensors(folder / "probes.safetensors")["weights"][adamw] for folder in (cpu, gpu))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-2 * np.abs(one).max())
    assert all(row["gap"] <= 1e-3 for row in read_json(gpu / "certificates.json"))


@pytest.mark.parametrize("key", ["tiny", "tuned"])
def test_scores(study: Path, key: str) -> None:
    cpu, gpu = (pd.read_csv(study / f"{device}/metrics/{key}/evaluate/layers.csv") for device in ("cpu", "gpu"))
    assert cpu.columns.tolist() == gpu.columns.tolist()
    assert len(cpu) == len(gpu)
    questions = cpu["total"].iloc[0]
    np.testing.assert_allclose(gpu["f1"], cpu["f1"], atol=100 * 3 / questions)  # an answer or two, where scores tie


@pytest.mark.parametrize("name", TABLES)
def test_what_else_the_layers_hold(study: Path, name: str) -> None:
    cpu, gpu = (pd.read_csv(study / f"{device}/metrics/{name}.csv") for device in ("cpu", "gpu"))
    assert cpu.columns.tolist() == gpu.columns.tolist()
    assert len(cpu) == len(gpu) > 0
    assert gpu.select_dtypes("number").notna().equals(cpu.select_dtypes("number").notna())

"""The stages in order, in an empty folder, on a tiny random encoder and a few questions of the sample."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from stages import (
    compare,
    describe,
    differences,
    download,
    evaluate,
    examine,
    finetune,
    page,
    predict,
    probe_train,
    report,
)
from stages.qa.files import read_json, read_tensors
from tests.tiny_models import ROOT, tiny_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml after all stages have run, two learning rates and two seeds."""
    root = tmp_path_factory.mktemp("study")
    params = tiny_study(root, train=4, dev=2, threshold_share=0.25) | {"study": "smoke"}
    params["encoders"]["random"] = params["encoders"]["tiny"] | {"weights": "random", "seed": 3}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | {"base": "tiny", "num_train_epochs": 1}}
    params["probed"] = ["tuned", "tiny", "random"]
    params["probe"] |= {"epochs": 2, "learning_rates": [0.01, 0.001], "seeds": [0, 1], "split": "disjoint"}
    params["examine"] |= {"training_questions": 20, "dev_questions": 15, "epochs": 2, "cka_tokens": 300}
    params["compared"] = {"tuned": "tiny"}
    YAML().dump(params, root / "params.yaml")
    before = Path.cwd()
    os.chdir(root)
    try:
        data, models = Path("data/squad/sample"), Path("data/models")
        download.dataset("sample", data)
        for key in params["encoders"]:
            download.encoder(key, models / key)
        finetune.main("tuned", models / "tiny", data, models / "tuned")
        for key in params["probed"]:
            probes, answers, metrics = Path("data/probes") / key, Path("data/predictions") / key, Path("metrics/smoke")
            probe_train.main(models / key, data, probes)
            predict.main(models / key, data, answers, probes)
            evaluate.main(key, data, answers, metrics, root / "scores", probes)
            describe.main(models / key, metrics / f"models/{key}.json")
            examine.main(key, models / key, probes, data, metrics)
        compare.main("tuned", "tiny", models / "tuned", models / "tiny", Path("data/probes/tiny"), data, metrics)
        differences.main(root / "scores", Path("metrics/smoke/differences.csv"))
        report.main(Path("metrics/smoke"), Path("plots/smoke"), ROOT / "studies/published")
        others = ROOT / "studies/published", ROOT / "requirements.txt"
        page.main(metrics, root / "scores", data, *others, Path("plots/smoke/report.html"), metrics / "CARD.md")
    finally:
        os.chdir(before)
    return root


def points(study: Path, key: str) -> list[dict[str, str]]:
    with (study / f"metrics/smoke/layers/{key}.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_epoch_layer_rate_and_seed_is_a_point(study: Path) -> None:
    names = ("protocol", "epoch", "layer", "learning_rate", "seed")
    rows = [tuple(row[name] for name in names) for row in points(study, "tiny") if row["reading"] == "probe"]
    config = read_json(study / "data/models/tiny/config.json")
    layers = config["num_hidden_layers"] + 1
    assert len(set(rows)) == len(rows) == layers * (2 * 2 * 2 + 1)  # epochs, rates, seeds; the convex optimum
    assert [row["reading"] for row in points(study, "tuned")].count("head") == 2  # one a protocol


def test_thresholds_come_from_articles_that_nothing_is_trained_on(study: Path) -> None:
    data = study / "data/squad/sample"
    given = json.loads((study / "train.json").read_text())["data"]
    train, held_out = (json.loads((data / f"{name}.json").read_text())["data"] for name in ("train", "held_out"))
    assert (given[:3], given[3:]) == (train, held_out)
    assert json.loads((data / "dev.json").read_text()) == json.loads((study / "dev.json").read_text())
    questions = {qa["id"] for article in held_out for p in article["paragraphs"] for qa in p["qas"]}
    answers = study / "data/predictions/tuned/paper/held_out"
    assert read_json(answers / "epoch_2/layer_01.json").keys() == questions
    with (study / "metrics/smoke/quality/tuned.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["held_out_questions"], row["held_out_articles"]) for row in rows} == {(f"{len(questions)}", "1")}
    assert all(0 <= float(row["held_out_f1"]) <= 100 for row in rows)


def test_articles_are_cut_before_some_are_held_out(tmp_path: Path) -> None:
    """As a command: what it writes appears at its end, and its own steps must see it before."""
    params = tiny_study(tmp_path, train=6, dev=3, threshold_share=0.25)
    params |= {"finetuned": {}, "probed": ["tiny"], "compared": {}}
    for name, articles in ("train", 4), ("dev", 2):
        params["datasets"]["sample"][name]["articles"] = articles
    YAML().dump(params, tmp_path / "params.yaml")
    command = [sys.executable, "-m", "stages.download", "dataset", "sample", "data"]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    train, dev = (json.loads((tmp_path / f"{name}.json").read_text())["data"] for name in ("train", "dev"))
    expected = {"train": train[:3], "held_out": train[3:4], "dev": dev[:2]}
    for name, articles in expected.items():
        assert json.loads((tmp_path / f"data/{name}.json").read_text())["data"] == articles, name
    assert {path.name for path in (tmp_path / "data").iterdir()} == {f"{name}.json" for name in expected}


def test_the_page_and_the_card_of_real_stages(study: Path) -> None:
    assert "</html>" in (study / "plots/smoke/report.html").read_text()
    assert "random weights" in (study / "metrics/smoke/CARD.md").read_text()


def test_every_epoch_keeps_its_own_weights(study: Path) -> None:
    readouts = read_json(study / "data/probes/tiny/readouts.json")
    weights = read_tensors(study / "data/probes/tiny/probes.safetensors")["weights"]
    first, second = (weights[[r["optimizer"] == "adamw" and r["epoch"] == epoch for r in readouts]] for epoch in (1, 2))
    assert first.shape == second.shape
    assert (np.abs(first - second).max(axis=(1, 2, 3)) > 0).all()


def test_points_equal_the_official_command_on_the_written_answers(study: Path) -> None:
    row = next(r for r in points(study, "tuned") if (r["protocol"], r["epoch"], r["layer"]) == ("paper", "2", "1"))
    assert (row["learning_rate"], row["seed"]) == ("0.01", "0")  # the official files hold the first of each
    answers = study / "data/predictions/tuned/paper/epoch_2/layer_01.json"
    command = [sys.executable, "-m", "stages.qa.metric", str(study / "data/squad/sample/dev.json"), str(answers)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name, value in json.loads(out.stdout).items():
        assert float(row[name]) == value, name


def test_answers_are_slices_of_their_contexts(study: Path) -> None:
    dev = json.loads((study / "data/squad/sample/dev.json").read_text())
    contexts = {qa["id"]: p["context"] for article in dev["data"] for p in article["paragraphs"] for qa in p["qas"]}
    files = sorted((study / "data/predictions/tuned/corrected").glob("optimum/layer_0?.json"))
    assert files
    for file in files:
        answers = read_json(file)
        assert answers.keys() == contexts.keys()
        assert all(text in contexts[id_] for id_, text in answers.items())


def test_the_heads_answers_are_those_of_the_stock_model(study: Path) -> None:
    """The head's score of no answer, against transformers run question by question."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = study / "data/models/tuned"
    model, tokenizer = (
        AutoModelForQuestionAnswering.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    header = read_json(study / "data/predictions/tuned/corrected/answers.json")
    null = read_tensors(study / "data/predictions/tuned/corrected/answers.safetensors")["null_score"]
    null = null[[reading["kind"] for reading in header["readings"]].index("head")]
    dev = json.loads((study / "data/squad/sample/dev.json").read_text())
    qas = [(p["context"], qa) for article in dev["data"] for p in article["paragraphs"] for qa in p["qas"]]
    for place in range(0, len(qas), 7):
        context, qa = qas[place]
        encoded = tokenizer(qa["question"], context, return_tensors="pt")
        with torch.no_grad():
            logits = model(**encoded)
        expected = float(logits.start_logits[0, 0] + logits.end_logits[0, 0])
        if encoded["input_ids"].shape[1] <= 384:
            assert header["ids"][place] == qa["id"]
            assert null[place] == pytest.approx(expected, abs=1e-4)


def test_random_weights_are_not_the_pretrained_ones(study: Path) -> None:
    tiny, other = (read_tensors(study / f"data/models/{key}/model.safetensors") for key in ("tiny", "random"))
    assert any(not np.array_equal(tiny[name], other[name]) for name in tiny if name in other)


def test_controls_have_every_layer_and_name_what_they_are_measured_on(study: Path) -> None:
    rows = pd.read_csv(study / "metrics/smoke/controls/tiny.csv")
    names = ["task", "random_spans", "position_only", "shuffled_question", "no_question"]
    assert list(rows["control"].unique()) == names
    layers = read_json(study / "data/models/tiny/config.json")["num_hidden_layers"] + 1
    assert len(rows) == layers * len(names)
    assert (rows["training_questions"] == 20).all()
    assert rows["questions"].between(1, 15).all()
    task = rows[rows["control"] == "task"].set_index("layer")["forced_f1"]
    other = rows[rows["control"] == "no_question"].set_index("layer")
    np.testing.assert_allclose(other["selectivity"], task - other["forced_f1"], atol=1e-3)


def test_layers_are_compared_with_those_of_the_base(study: Path) -> None:
    own = pd.read_csv(study / "metrics/smoke/similarity/tuned.csv").pivot(index="layer", columns="other_layer")["cka"]
    np.testing.assert_allclose(np.diag(own), 1, atol=1e-4)
    np.testing.assert_allclose(own, own.T, atol=1e-4)
    base = pd.read_csv(study / "metrics/smoke/similarity/tuned.from.tiny.csv")
    assert base["cka"].between(0, 1 + 1e-4).all()
    transfer = pd.read_csv(study / "metrics/smoke/transfer/tuned.from.tiny.csv")
    assert len(transfer) == len(base) == own.size
    assert (transfer["probes_of"] == "tiny").all()


def test_report_is_there(study: Path) -> None:
    for name in (
        "f1_by_layer.png",
        "exact_by_layer.png",
        "heat_map.png",
        "results.md",
        "layers.csv",
        "differences.png",
        "quality.png",
        "reliability.png",
        "breakdown.png",
    ):
        assert (study / "plots/smoke" / name).stat().st_size > 0


def test_the_same_again_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "again")
    again = tmp_path / "again"
    shutil.rmtree(again / "data/probes/tuned")
    shutil.rmtree(again / "data/models/tuned")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "123"}
    for stage, *arguments in (
        ("finetune", "tuned", "data/models/tiny", "data/squad/sample", "data/models/tuned"),
        ("probe_train", "data/models/tuned", "data/squad/sample", "data/probes/tuned"),
    ):
        subprocess.run([sys.executable, "-m", f"stages.{stage}", *arguments], cwd=again, env=environment, check=True)
    for folder in ("data/models/tuned", "data/probes/tuned"):
        for file in (study / folder).iterdir():
            assert (again / folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_figures_in_another_format(study: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.figures", "metrics/smoke", str(tmp_path), "--format", "svg"]
    subprocess.run(command, cwd=study, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "panels.svg").read_text().startswith("<?xml")

"""The stages in order, in an empty folder, on a tiny random encoder and a few questions of the sample."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import choose, compare, download, evaluate, examine, finetune, predict, probe_train, report
from stages.qa.files import read_json, read_tensors
from stages.qa.report.views import study_view
from stages.qa.scoring.question_scores import load_question_scores
from tests.tiny_models import ROOT, read_yaml, tiny_study, write_yaml


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml after all stages have run, two learning rates and two seeds."""
    root = tmp_path_factory.mktemp("study")
    params = tiny_study(root, train=4, dev=2) | {"study": "smoke"}
    params["encoders"]["random"] = params["encoders"]["tiny"] | {"random_weights_of": "tiny", "seed": 3}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | {"base": "tiny", "num_train_epochs": 1}}
    params["encoders"]["another"] = params["encoders"]["random"] | {"seed": 4}
    params["probed"] = ["tuned", "tiny", "random"]
    params["runs"] = {key: key for key in params["probed"]} | {"another": "random"}
    params["compared"] = {"tuned": "tiny"}
    params["effort"]["probe"] |= {"epochs": 2, "learning_rates": [0.01, 0.001]}
    params["effort"]["examine"] |= {"training_questions": 20, "dev_questions": 15, "cka_tokens": 300}
    params["effort"] |= {"parts": {"validation_share": 0.25}, "convex": {"l2": [0.1, 1.0]}}
    write_yaml(root / "params.yaml", params)
    method = read_yaml(root / "method.yaml")
    method["parts"]["split"] = "disjoint"
    write_yaml(root / "method.yaml", method)
    before = Path.cwd()
    os.chdir(root)
    try:
        run_all_stages(params)
    finally:
        os.chdir(before)
    return root


def run_all_stages(params: dict[str, Any]) -> None:
    """As dvc.yaml does."""
    squad, models, probes = Path("data/squad/sample"), Path("data/models"), Path("data/probes")
    scores, metrics = Path("data/scores"), Path("metrics/smoke")
    download.dataset("sample", squad)
    for key in params["encoders"]:
        download.encoder(key, models / key)
    finetune.main("tuned", models / "tiny", squad, models / "tuned")
    answers = Path("data/predictions")
    for run, key in params["runs"].items():
        probe_train.main(models / run, squad, probes / key / run)
        predict.main(models / run, squad, probes / key / run, answers / key / run)
    choose.main(probes, metrics / "l2.json")
    for key in params["probed"]:
        tables = metrics / key
        inputs = probes / key, squad, metrics / "l2.json", answers / key
        evaluate.main(key, *inputs, metrics / f"{key}.json", tables / "evaluate", scores / key)
        examine.main(key, models / key, squad, metrics / "l2.json", tables / "examine")
    pair = models / "tuned", models / "tiny", scores / "tuned", scores / "tiny"
    compare.main("tuned", "tiny", *pair, squad, metrics / "tuned/compare")
    published, requirements = ROOT / "studies/published", ROOT / "requirements.txt"
    report.main(metrics, scores, squad, published, requirements, Path("plots/smoke"))


def points(study: Path, key: str) -> list[dict[str, str]]:
    with (study / f"metrics/smoke/{key}/evaluate/layers.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_epoch_layer_rate_and_seed_is_a_point(study: Path) -> None:
    names = ("protocol", "epoch", "layer", "learning_rate", "seed", "l2")
    rows = [tuple(row[name] for name in names) for row in points(study, "tiny") if row["reading"] == "probe"]
    config = read_json(study / "data/models/tiny/config.json")
    layers = config["num_hidden_layers"] + 1
    assert len(set(rows)) == len(rows) == layers * (2 * 2 * 2 + 2)  # epochs, rates, seeds; the optimum under each l2
    assert [row["reading"] for row in points(study, "tuned")].count("head") == 2  # one a protocol


def test_one_row_of_each_curve_point_is_final_and_one_protocol_is_the_headline(study: Path) -> None:
    chosen = str(read_json(study / "metrics/smoke/l2.json")["l2"])
    for row in points(study, "tiny"):
        last = row["epoch"] in ("", "2") and row["learning_rate"] in ("", "0.01") and row["l2"] in ("", chosen)
        assert row["final"] == str(last)
        assert row["headline"] == str(row["protocol"] == "corrected")


def test_only_the_first_articles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = tiny_study(tmp_path, train=6, dev=3)
    params |= {"finetuned": {}, "probed": ["tiny"], "runs": {"tiny": "tiny"}, "compared": {}}
    params["datasets"]["sample"]["train"]["articles"] = 4
    write_yaml(tmp_path / "params.yaml", params)
    monkeypatch.chdir(tmp_path)
    download.dataset("sample", tmp_path / "data")
    for name, articles in ("train", 4), ("dev", 3):
        source = json.loads((tmp_path / f"{name}.json").read_text())["data"]
        assert json.loads((tmp_path / f"data/{name}.json").read_text())["data"] == source[:articles]
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"train.json", "dev.json"}


def test_the_page_and_the_card_of_real_stages(study: Path) -> None:
    assert "</html>" in (study / "plots/smoke/report.html").read_text()
    assert "random" in (study / "plots/smoke/report.md").read_text()
    assert "random weights" in (study / "plots/smoke/CARD.md").read_text()


def test_every_epoch_keeps_its_own_weights(study: Path) -> None:
    readouts = read_json(study / "data/probes/tiny/tiny/readouts.json")
    weights = read_tensors(study / "data/probes/tiny/tiny/probes.safetensors")["weights"]
    first, second = (weights[[r["optimizer"] == "adamw" and r["epoch"] == epoch for r in readouts]] for epoch in (1, 2))
    assert first.shape == second.shape
    assert (np.abs(first - second).max(axis=(1, 2, 3)) > 0).all()


def test_points_equal_the_official_command_on_the_written_answers(study: Path) -> None:
    row = next(r for r in points(study, "tuned") if (r["protocol"], r["epoch"], r["layer"]) == ("paper", "2", "1"))
    assert (row["learning_rate"], row["seed"]) == ("0.01", "0")  # the official files hold the first of each
    answers = study / "data/predictions/tuned/tuned/paper/epoch_2/layer_01.json"
    command = [sys.executable, "-m", "stages.qa.metric", str(study / "data/squad/sample/dev.json"), str(answers)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name, value in json.loads(out.stdout).items():
        assert float(row[name]) == value, name


def test_answers_are_slices_of_their_contexts(study: Path) -> None:
    dev = json.loads((study / "data/squad/sample/dev.json").read_text())
    contexts = {qa["id"]: p["context"] for article in dev["data"] for p in article["paragraphs"] for qa in p["qas"]}
    files = sorted((study / "data/predictions/tuned/tuned/corrected").glob("l2_*/layer_0?.json"))
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
    header = read_json(study / "data/predictions/tuned/tuned/corrected/answers.json")
    null = read_tensors(study / "data/predictions/tuned/tuned/corrected/answers.safetensors")["null_score"]
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
    rows = pd.read_csv(study / "metrics/smoke/tiny/examine/controls.csv")
    names = ["task", "question_products", "words", "position_only"]
    names += ["shuffled_question", "no_question", "random_layers"]
    assert list(rows["control"].unique()) == names
    layers = read_json(study / "data/models/tiny/config.json")["num_hidden_layers"] + 1
    assert len(rows) == layers * len(names)
    assert (rows["training_questions"] == 20).all()
    assert rows["questions"].between(1, 15).all()
    task = rows[rows["control"] == "task"].set_index("layer")["forced_f1"]
    other = rows[rows["control"] == "no_question"].set_index("layer")
    np.testing.assert_allclose(other["selectivity"], task - other["forced_f1"], atol=1e-3)
    assert all(value == float(f"{value:.6g}") for value in rows["selectivity"].dropna())


def test_the_page_shows_the_answers_of_the_run_that_names_the_curve(study: Path) -> None:
    """The first of the runs, though another comes before it in the alphabet."""
    runs = load_question_scores(study / "data/scores/random/corrected").runs
    assert list(dict.fromkeys(runs)) == ["random", "another"]


def test_layers_are_compared_with_those_of_the_base(study: Path) -> None:
    own = pd.read_csv(study / "metrics/smoke/tuned/examine/similarity.csv").pivot(index="layer", columns="other_layer")[
        "cka"
    ]
    np.testing.assert_allclose(np.diag(own), 1, atol=1e-4)
    np.testing.assert_allclose(own, own.T, atol=1e-4)
    base = pd.read_csv(study / "metrics/smoke/tuned/compare/similarity.csv")
    assert base["cka"].between(0, 1 + 1e-4).all()
    assert len(base) == own.size
    assert (base["other"] == "tiny").all()


def test_report_is_there(study: Path) -> None:
    figures = {path.stem for path in (study / "plots/smoke/figures").glob("*.png")}
    assert figures >= {"f1_by_layer", "exact_by_layer", "panels", "loss_curves", "protocols"}
    assert figures >= {"differences", "quality", "controls", "similarity"}
    assert {path.name for path in (study / "plots/smoke").glob("*.csv")} == {"layers.csv", "loss.csv"}


def test_figures_in_another_format(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    monkeypatch.setattr(report, "curve_charts", lambda *given: {})
    monkeypatch.setattr(report, "study_view", lambda *given: (study_view(*given)[0], {}))  # similarity alone is left
    inputs = Path("metrics/smoke"), Path("data/scores"), Path("data/squad/sample")
    published, requirements = ROOT / "studies/published", ROOT / "requirements.txt"
    report.main(*inputs, published, requirements, tmp_path, "svg")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["similarity.svg"]
    assert (tmp_path / "figures/similarity.svg").read_text().startswith("<?xml")

"""Every row of studies/paper.yaml through the stages, from a hub look-alike that holds a tiny model of its family.

Published checkpoints cannot be had in a test; the real client, the real loading code and the architectures can.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import download, evaluate, finetune, predict, probe_train
from stages.qa.config import load_params
from stages.qa.errors import InputError
from stages.qa.files import read_json
from tests import hub_lookalike
from tests.conftest import TinyModel

ROOT = Path(__file__).parents[2]
STUDY = load_params(ROOT / "studies/paper.yaml")
FAMILIES = {"distilbert": "distilbert", "distilroberta": "distilroberta", "albert": "albert", "bert": "bert"}


def family(name: str) -> str:
    return next(kind for prefix, kind in FAMILIES.items() if re.search(rf"\b{prefix}[-_]", name))


def squad_file(path: Path, *, labels: bool = True) -> None:
    data = json.loads((ROOT / "data/sample/dev.json").read_text())
    articles = [article | {"paragraphs": article["paragraphs"][:2]} for article in data["data"][:3]]
    if not labels:
        for qa in (qa for article in articles for p in article["paragraphs"] for qa in p["qas"]):
            qa |= {"answers": []}
            del qa["is_impossible"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Iterator[hub_lookalike.Hub]:
    repos = {}
    for key, encoder in STUDY.encoders.items():
        name = encoder.sources[0].removeprefix("hub:").partition("@")[0]
        repos[name] = tiny_model(family(name), head="squad2" in key)
    with hub_lookalike.serve(repos) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: hub_lookalike.Hub) -> Path:
    """A folder with the paper's params.yaml, pinned to the look-alike's revision, and a few questions."""
    params = YAML(typ="safe").load(ROOT / "studies/paper.yaml")
    for encoder in params["encoders"].values():
        encoder["sources"] = [re.sub("@.*", f"@{hub_lookalike.REVISION}", source) for source in encoder["sources"]]
    params["probe"] |= {"epochs": 2, "learning_rates": [0.01]}
    params["convex"]["held_out"] = 0.4
    params["epochs_read"] = [2]
    for variant in params["finetuned"].values():
        variant["num_train_epochs"] = 1
    YAML().dump(params, tmp_path / "params.yaml")
    squad_file(tmp_path / "squad/train.json")
    squad_file(tmp_path / "squad/dev.json")
    monkeypatch.chdir(tmp_path)
    hub.use(monkeypatch, tmp_path / "home")
    return tmp_path


def fetched(project: Path, key: str) -> Path:
    download.encoder(key, project / "models" / key)
    return project / "models" / key


def scored(project: Path, key: str, model: Path) -> dict[str, float]:
    """Probe, answer and score one model; the summary that `dvc metrics show` prints."""
    probes, answers = project / "probes" / key, project / "answers" / key
    probe_train.main(model, project / "squad", probes)
    predict.main(model, project / "squad", answers, probes)
    assert not list(answers.glob("paper/epoch_1/*"))  # left out by parameter
    assert list(answers.glob("paper/epoch_2/layer_00.json"))
    evaluate.main(key, project / "squad", answers, project / "metrics", project / "scores", probes)
    return read_json(project / f"metrics/{key}.json")


@pytest.mark.parametrize("key", [key for key in STUDY.probed if key in STUDY.encoders])
def test_a_fetched_row(project: Path, key: str) -> None:
    summary = scored(project, key, fetched(project, key))
    assert 0 <= summary["last_f1"] <= 100
    assert ("head_f1" in summary) == ("squad2" in key)


@pytest.mark.parametrize("key", STUDY.finetuned)
def test_a_row_fine_tuned_here_and_evaluated_again(project: Path, key: str) -> None:
    base, model = fetched(project, STUDY.finetuned[key].base), project / "models" / key
    finetune.main(key, base, project / "squad", model)
    summary = scored(project, key, model)
    predict.main(model, project / "squad", project / "again")
    evaluate.main(key, project / "squad", project / "again", project / "metrics/again", project / "scores")
    again = read_json(project / f"metrics/again/{key}.json")
    assert again == {name: value for name, value in summary.items() if name.startswith("head_")} != {}


@pytest.mark.parametrize("key", STUDY.heads)
def test_a_row_of_which_only_the_head_is_read(project: Path, key: str) -> None:
    predict.main(fetched(project, key), project / "squad", project / "answers")
    evaluate.main(key, project / "squad", project / "answers", project / "metrics", project / "scores")
    assert read_json(project / f"metrics/{key}.json").keys() >= {"head_exact", "head_f1"}


def test_the_unlabelled_split_is_predicted_and_not_scored(project: Path) -> None:
    key = STUDY.heads[0]
    squad_file(project / "test/dev.json", labels=False)
    predict.main(fetched(project, key), project / "test", project / "answers")
    assert read_json(project / "answers/paper/head.json").keys()
    with pytest.raises(InputError, match="labels are hidden: every empty answer would count as right"):
        evaluate.main(key, project / "test", project / "answers", project / "metrics", project / "scores")
    assert not (project / "metrics").exists()
    assert not (project / "scores").exists()


def test_a_base_without_a_head_is_not_read_by_it(project: Path) -> None:
    model = fetched(project, "bert-base-uncased")
    with pytest.raises(InputError, match="has no question answering head"):
        predict.main(model, project / "squad", project / "answers")

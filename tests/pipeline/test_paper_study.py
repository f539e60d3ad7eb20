"""Every row of the studies of the hub through the stages, from a look-alike that holds a tiny model of its family.

Published checkpoints cannot be had in a test; the real client, the real loading code and the architectures can.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import download, evaluate, finetune, predict, probe_train
from stages.qa.config import load_params
from stages.qa.errors import InputError
from stages.qa.files import read_json, write_json
from stages.qa.probing.readouts import Probes, choose_l2, save_probes
from tests import hub_lookalike
from tests.conftest import TinyModel
from tests.tiny_models import read_yaml, write_yaml

ROOT = Path(__file__).parents[2]
STUDIES = {name: load_params(ROOT / f"studies/{name}.yaml", ROOT / "method.yaml") for name in ("paper", "published")}
PAPER = STUDIES["paper"]
FAMILIES = {  # what a name on the hub starts with, and its family
    "distilbert": "distilbert",
    "distilroberta": "distilroberta",
    "albert": "albert",
    "bert": "bert",
    "electra": "electra",
    "minilm": "bert",
    "tinyroberta": "roberta",
    "deberta-v3": "deberta-v2",
}
FETCHED = [(name, key) for name, study in STUDIES.items() for key in study.probed if key in study.encoders]


def family(name: str) -> str:
    return next(kind for prefix, kind in FAMILIES.items() if re.search(rf"\b{prefix}[-_]", name))


def has_head(key: str) -> bool:
    return "squad" in key


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
    for study in STUDIES.values():
        for key, encoder in study.encoders.items():
            name = encoder.sources[0].removeprefix("hub:").partition("@")[0]
            repos[name] = tiny_model(family(name), head=has_head(key))
    with hub_lookalike.serve(repos) as server:
        yield server


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: hub_lookalike.Hub
) -> Path:
    """A folder with a study (if none is named the paper's), pinned to the look-alike's revision, and few questions."""
    params = read_yaml(ROOT / f"studies/{getattr(request, 'param', 'paper')}.yaml")
    for encoder in params["encoders"].values():
        encoder["sources"] = [re.sub("@.*", f"@{hub_lookalike.REVISION}", source) for source in encoder["sources"]]
    params["effort"]["probe"] |= {"epochs": 2, "learning_rates": [0.01]}
    for run in params["finetuned"].values():
        run["num_train_epochs"] = 1
    write_yaml(tmp_path / "params.yaml", params)
    method = read_yaml(ROOT / "method.yaml")
    write_yaml(tmp_path / "method.yaml", method)
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
    squad, probes, answers = project / "squad", project / "probes" / key, project / "answers" / key
    summary = project / f"metrics/{key}.json"
    probe_train.main(model, squad, probes / key)
    predict.main(model, squad, probes / key, answers / key)
    l2 = project / "l2.json"
    write_json(l2, choose_l2({probes / key: key}))
    evaluate.main(key, probes, squad, l2, answers, summary, project / "tables" / key, project / "scores" / key)
    return read_json(summary)


@pytest.mark.parametrize(("project", "key"), FETCHED, indirect=["project"], ids=[key for _, key in FETCHED])
def test_a_fetched_row(project: Path, key: str) -> None:
    study = load_params()
    probed = study.encoders[key].probes
    summary = scored(project, key, fetched(project, key))
    assert ("last_f1" in summary) == probed
    assert ("head_f1" in summary) == has_head(key)
    answers = project / "answers" / key / key / study.headline
    assert (answers / "head.json").exists() == has_head(key)
    assert bool(list(answers.glob("epoch_2/layer_00.json"))) == probed


def test_published_heads_are_read_by_the_official_rules() -> None:
    study = STUDIES["published"]
    assert study.protocols.keys() == {"official"}
    assert study.protocols["official"] == PAPER.protocols["corrected"]
    assert not any(encoder.probes for encoder in study.encoders.values())
    assert {family(encoder.sources[0]) for encoder in study.encoders.values()} == {
        "bert",
        "deberta-v2",
        "electra",
        "roberta",
    }


@pytest.mark.parametrize("key", PAPER.finetuned)
def test_a_row_fine_tuned_here(project: Path, key: str) -> None:
    base, model = fetched(project, PAPER.finetuned[key].base), project / "models" / key
    finetune.main(key, base, project / "squad", model)
    assert scored(project, key, model).keys() >= {"last_f1", "head_f1"}


def test_the_unlabelled_split_is_predicted_and_not_scored(project: Path) -> None:
    key = "twmkn9--bert-base-uncased-squad2"
    scored(project, key, fetched(project, key))
    squad_file(project / "squad/dev.json", labels=False)
    probes, answers = project / "probes" / key, project / "again"
    predict.main(project / "models" / key, project / "squad", probes / key, answers / key)
    assert read_json(answers / key / "paper/head.json").keys()
    outs = project / "metrics/again.json", project / "tables/again", project / "scores/again"
    with pytest.raises(InputError, match="labels are hidden: every empty answer would count as right"):
        evaluate.main(key, probes, project / "squad", project / "l2.json", answers, *outs)
    assert not any(path.exists() for path in outs)


def test_a_model_with_neither_head_nor_probes_is_refused(project: Path) -> None:
    model, probes = fetched(project, "bert-base-uncased"), project / "probes"
    save_probes(probes, Probes.empty(1, 1))
    with pytest.raises(InputError, match="has no question answering head, and no probe was trained on it"):
        predict.main(model, project / "squad", probes, project / "answers")

"""The fault cases: a study in a folder of its own, stages as processes, and a line for each case at the end."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.qa.config import load_params
from stages.qa.files import write_json
from stages.qa.probing.readouts import Probes, choose_l2, save_probes
from tests.faults.launcher import ROOT, Launcher
from tests.faults.study import L2, Study, few, run_probes_and_scores, write_squad
from tests.tiny_models import make_tiny, read_yaml, write_yaml

# What is told at the end


@pytest.fixture(autouse=True)
def _told(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    record_property("done", " ".join((request.function.__doc__ or request.function.__name__).split()).rstrip("."))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """tell(TEXT): what happened, for the line of this case."""
    return lambda text: record_property("happened", text)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line a case: number, what was done, what happened; last, how many hold. Only if only cases were run."""
    here = Path(__file__).parent
    if not all(here in (p := Path(a.split("::")[0]).resolve()).parents or p == here for a in config.args):
        return
    found: dict[int, list[Any]] = {}
    for kind in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(kind, []):
            if match := re.search(r"::test_case_(\d+)_", report.nodeid):
                found.setdefault(int(match[1]), []).append((kind, report))
    held = faults = kills = 0
    for number in sorted(found):
        kinds = {kind for kind, _ in found[number]}
        verdict = "FAILS" if kinds & {"failed", "error"} else "skipped" if "skipped" in kinds else "holds"
        held += verdict == "holds"
        properties = [report.user_properties for _, report in found[number]]
        done = "; ".join(dict.fromkeys(v for some in properties for k, v in some if k == "done"))
        happened = [[v for k, v in some if k == "happened"] for some in properties]
        last = "; ".join(dict.fromkeys(some[-1] for some in happened if some)) or "as it says"
        refusals = sum(text.startswith("exit ") for some in happened for text in some)
        more = f" ({refusals} refusals)" if refusals > 1 else ""
        terminalreporter.write_line(f"{number:2} {verdict}  {done}  ->  {last}{more}")
        faults += refusals
        kills += sum(
            int(number) for some in happened for text in some for number in re.findall(r"(\d+) kills?\b", text)
        )
    terminalreporter.write_line(
        f"{faults} commands refused, each with one line and nothing changed; {kills} kills survived"
    )
    terminalreporter.write_line(f"{held} of {len(found)} cases hold")


# Processes and folders

COMMON = {"optimizer": "adamw", "null_threshold": 0.0}
PROTOCOLS = {
    "standard": COMMON | {"answer_text": "slice", "windows": "official", "max_answer_tokens": 30},
    "paper": COMMON | {"answer_text": "wordpieces", "windows": "highest", "max_answer_tokens": 18},
}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study: params.yaml, questions, a tiny encoder without and one with a head."""
    root = tmp_path_factory.mktemp("template")
    make_tiny("bert", root / "data/models/tiny")
    make_tiny("bert", root / "data/models/headed", head=True)
    shutil.copytree(root / "data/models/tiny", root / "origin")
    (root / "origin/manifest.json").unlink()
    config = json.loads((root / "origin/config.json").read_text())
    for run in "tiny", "headed":
        nothing = Probes.empty(config["num_hidden_layers"] + 1, config["hidden_size"])
        save_probes(root / "data/probes/none" / run, nothing)
    params = read_yaml(ROOT / "params.yaml")
    for name in ("train", "dev"):
        params["datasets"]["sample"][name] = {"source": f"{name}.json"}
    tiny = {"sources": ["path:origin"]}
    params["encoders"] = {"tiny": tiny, "random": tiny | {"random_weights_of": "tiny", "seed": 1}}
    changes = {"base": "tiny", "num_train_epochs": 1, "train_batch_size": 4, "gradient_accumulation_steps": 1}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | changes}
    params |= {
        "probed": ["tiny"],
        "runs": {"tiny": "tiny"},
        "compared": {},
        "protocols": PROTOCOLS,
        "headline": "standard",
    }
    params["effort"]["probe"] |= {"epochs": 1, "seeds": [0]}
    params["effort"]["examine"] |= {"training_questions": 8, "dev_questions": 6, "cka_tokens": 200}
    params["effort"] |= {"parts": {"validation_share": 0.0}, "convex": {"l2": [0.1]}}
    write_json(root / L2, choose_l2({}))
    write_yaml(root / "params.yaml", params)
    method = read_yaml(ROOT / "method.yaml") | {"precision": "fp32", "optimizers": ["adamw"]}
    method["finetuning"]["save_steps"] = 1
    method["statistics"]["resamples"] = 100
    write_yaml(root / "method.yaml", method)
    load_params(root / "params.yaml", root / "method.yaml")
    (root / "data/squad/sample").mkdir(parents=True)
    for name, questions in ("train", 12), ("dev", 8):
        data = json.loads((ROOT / f"data/sample/{name}.json").read_text())
        write_squad(root / f"{name}.json", few(data, questions))
        shutil.copy(root / f"{name}.json", root / "data/squad/sample")
    return root


@pytest.fixture
def study(template: Path, tmp_path: Path, launcher: Launcher, tell: Callable[[str], None]) -> Study:
    return Study(Path(shutil.copytree(template, tmp_path / "study")), launcher, tell)


@pytest.fixture(scope="session")
def evaluated(template: Path, tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Path:
    """The template after probes, predictions and scores of both models."""
    root = Path(shutil.copytree(template, tmp_path_factory.mktemp("evaluated") / "study"))
    run_probes_and_scores(Study(root, launcher, lambda text: None))
    return root


@pytest.fixture
def done(evaluated: Path, tmp_path: Path, launcher: Launcher, tell: Callable[[str], None]) -> Study:
    """A study in which everything but the fine-tuning has run."""
    return Study(Path(shutil.copytree(evaluated, tmp_path / "study")), launcher, tell)

"""dvc.yaml says what the code does: deps are the imports, params are the sections read. No stage is run."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.qa.config import Params, load_params

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
# Not dependencies: types without values, and what no result depends on.
UNTRACKED = {f"stages/{name}.py" for name in ("__init__", "qa/__init__", "qa/cli", "qa/config", "qa/errors")}
UNTRACKED |= {
    f"stages/qa/{name}.py"
    for name in ("data_sections", "probing_sections", "processes", "progress", "publishing", "section")
}
READ = {"stages/qa/report/html.py": "stages/qa/report/templates"}  # module -> the files that it reads beside itself


def pipeline(root: Path = ROOT) -> dict[str, Any]:
    return {name: spec.get("do", spec) for name, spec in YAML(typ="safe").load(root / "dvc.yaml")["stages"].items()}


def imports(path: Path, root: Path) -> set[Path]:
    """The project's modules that `path` imports, directly."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {root / f"{name.replace('.', '/')}.py" for name in names if name.startswith("stages.")}
    return {file for file in found if file.exists()}


def closure(path: Path, root: Path, within: set[str] | None = None) -> set[str]:
    """`path` and all project modules it needs, as dvc.yaml writes them."""
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imports(file, root)
    names = {file.relative_to(root).as_posix() for file in seen}
    return (names | {READ[name] for name in names & READ.keys()}) - UNTRACKED


def sections_read(path: Path) -> set[str]:
    """Sections of params.yaml that a stage reads: attributes of what load_params returns."""
    tree = ast.parse(path.read_text())
    names = {"params"}
    read = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = node.value
            direct = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "load_params"
            if direct or (isinstance(value, ast.Name) and value.id in names):
                read.add(node.attr)
    return read & set(Params.model_fields)


def faults(root: Path) -> list[str]:
    """Where dvc.yaml and the code disagree."""
    found = []
    for name, stage in pipeline(root).items():
        script = Path(re.search(r"-m (?:stages\.launch )?(stages\.\w+)", stage["cmd"][-1])[1].replace(".", "/") + ".py")
        code = {dep for dep in stage["deps"] if dep.startswith("stages/")}
        if code != (needed := closure(root / script, root)):
            found.append(f"{name}: deps lack {sorted(needed - code)}, have unused {sorted(code - needed)}")
        sections = {param.split(".")[0] for param in stage.get("params", [])}
        read = sections_read(root / script)
        if name in ("dataset", "download"):  # one script, two commands
            read &= {"datasets" if name == "dataset" else "encoders"}
        if sections != read:
            found.append(f"{name}: params {sorted(sections)}, reads {sorted(read)}")
        if any(imported.startswith("stages/") and "/qa/" not in imported for imported in needed - {script.as_posix()}):
            found.append(f"{name}: imports another stage")
    return found


def test_deps_are_imports_and_params_are_reads() -> None:
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dvc.yaml", "      - stages/qa/answering/spans.py\n", ""),
        ("dvc.yaml", "      - finetuned.${key}\n", ""),
        ("dvc.yaml", "      - probed\n", "      - probed\n      - probe\n"),
        ("stages/report.py", "from pathlib", "import stages.evaluate\nfrom pathlib"),
        ("stages/qa/metric.py", "import json", "import json\n\nimport stages.qa.data.windows"),
    ],
)
def test_negative_controls(tmp_path: Path, file: str, old: str, new: str) -> None:
    for name in ("dvc.yaml", "stages"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    assert faults(tmp_path) == []
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert faults(tmp_path) != []


def test_no_shell_sees_an_unchecked_key() -> None:
    assert {tuple(stage["cmd"][:-1]) for stage in pipeline().values()} == {("python -m stages.check",)}


def test_the_library_imports_no_stage_and_knows_no_path() -> None:
    for file in (ROOT / "stages" / "qa").rglob("*.py"):
        assert all("qa" in module.parts for module in imports(file, ROOT) - {ROOT / "stages/__init__.py"}), file
        assert not re.search(r"[\"'](data|metrics|plots|studies)/", file.read_text()), f"{file} knows a path"


def test_params_have_no_defaults_in_code() -> None:
    def models(kind: type) -> Iterator[type]:
        yield kind
        for sub in kind.__subclasses__():
            yield from models(sub)

    for model in models(Params.__mro__[1]):
        for name, field in model.model_fields.items():
            assert field.is_required(), f"{model.__name__}.{name} has a default: values live in params.yaml"


def definition(target: Path, study: Path) -> Repo:
    """A copy of the pipeline's definition under `study`, without its data."""
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, target)
    for name in ("stages", "data/sample"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    (target / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", target / ".dvc/config")
    subprocess.run(["git", "init", "-q", target], check=True)
    shutil.copy(study, target / "params.yaml")
    return Repo(str(target))


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_graph_of_every_study(tmp_path: Path, study: Path) -> None:
    params = load_params(study)
    with definition(tmp_path, study) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
        graph = repo.index.graph  # raises on cycles and overlapping outputs
        last = [stages[f"{name}@{params.study}"] for name in ("report", "page")]
        above = {stage.name for end in last for stage in nx.descendants(graph, end)}
        for kind in ("probe_train", "examine", "predict", "evaluate", "describe"):
            expected = {f"{kind}@{key}" for key in params.probed}
            assert expected == {name for name in stages if name.startswith(kind + "@")}
            assert expected <= above
        outs = [out.fs_path for out in repo.index.outs]
        for name, stage in stages.items():
            for dep in stage.deps:  # a dependency inside a directory output escapes --allow-missing
                assert not any(dep.fs_path.startswith(f"{out}/") for out in outs), (name, str(dep))
            if name.startswith(("download", "finetune", "probe_train", "predict")):
                # one uncached or persistent output keeps a stage out of the run cache
                assert all(out.use_cache and not out.persist for out in stage.outs), name


def would_run(tmp_path: Path, file: str, old: str, new: str) -> set[str]:
    """The stages that `dvc repro` would run after a change, if all were up to date as committed; no data is needed."""
    definition(tmp_path, ROOT / "params.yaml").close()
    for name in ("dvc.lock", "metrics", "plots", "studies"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    # DVC's dry run stops at a stage that would run, if its data are not there
    return set(re.findall(r"(?:Running stage|failed to reproduce) '(\S+?)'", done.stdout + done.stderr))


def test_every_stage_of_the_original_study_is_listed(tmp_path: Path) -> None:
    with definition(tmp_path, ROOT / "studies/paper.yaml") as repo:
        stages = {stage.name for stage in repo.index.stages}
    shutil.copytree(ROOT / "studies/published", tmp_path / "studies/published")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--force"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"Running stage '(\S+)':", out)) == stages


def test_the_committed_lock_is_current(tmp_path: Path) -> None:
    assert would_run(tmp_path, "params.yaml", "study: demo", "study: demo") == set()


def test_the_page_redraws_nothing_else(tmp_path: Path) -> None:
    assert would_run(tmp_path, "stages/qa/report/templates/page.css", ":root {", ":root  {") == {"page@demo"}


def test_another_plot_runs_the_report_alone(tmp_path: Path) -> None:
    assert would_run(tmp_path, "stages/qa/report/curve_figures.py", '"""', '"""New. ') == {"report@demo"}


def test_another_model_leaves_the_others_alone(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    entry = text[text.index("  minilm-random:\n") : text.index("\n# Checkpoints that are trained here")]
    added = entry + entry.replace("minilm-random", "other").replace("seed: 0", "seed: 1")
    assert would_run(tmp_path, "params.yaml", entry, added) == {"download@other", "report@demo", "page@demo"}


@pytest.mark.parametrize(
    ("what", "stages"),
    [
        ("probe", {"probe_train", "examine", "page"}),
        ("probe.split", {"finetune"}),
        ("examine", {"examine", "compare"}),
        ("stages/qa/checks/controls.py", {"examine", "compare"}),
        ("stages/qa/probing/probes.py", {"probe_train", "examine", "compare"}),
        ("stages/qa/metric.py", {"evaluate", "evaluate_head", "differences", "examine", "compare", "page"}),
        ("stages/qa/scoring/bootstrap.py", {"evaluate", "evaluate_head", "differences"}),
        ("stages/qa/answering/likelihood.py", {"predict", "predict_head"}),
        ("stages/qa/checks/similarity.py", {"examine", "compare"}),
        ("stages/qa/answering/spans.py", {"predict", "predict_head", "examine", "compare"}),
        ("stages/qa/finetuning/training.py", {"finetune"}),
    ],
)
def test_what_a_change_touches_first(what: str, stages: set[str]) -> None:
    """Everything above these stages is left alone: a new learning rate of the probes trains no encoder."""
    assert {name for name, s in pipeline().items() if what in [*s["deps"], *s.get("params", [])]} == stages


def test_switching_studies_and_back_runs_nothing(tmp_path: Path) -> None:
    """Other studies leave the demo's entries in dvc.lock alone: they have no stage in common."""
    names = []
    for place, study in enumerate(STUDIES):
        folder = tmp_path / str(place)
        folder.mkdir()
        with definition(folder, study) as repo:
            names.append({stage.name for stage in repo.index.stages})
    assert all(not names[a] & names[b] for a in range(len(names)) for b in range(a))


def test_studies_share_no_model_key() -> None:
    """Switching studies then re-runs nothing: each key keeps its entry in dvc.lock."""
    seen: dict[str, Path] = {}
    for path in STUDIES:
        params = load_params(path)
        for key in [params.study, *params.encoders, *params.finetuned, *params.datasets]:
            assert seen.setdefault(key, path) == path, f"{key} is in {seen[key].name} and in {path.name}"


def test_a_stage_is_short() -> None:
    for file in (ROOT / "stages").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 65, f"{file.name} is long for a stage: move code to stages/qa"
    for file in (ROOT / "stages/qa").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 250, f"{file.name}: does it still hold one idea?"


@pytest.mark.parametrize(
    "stage",
    [
        *("check", "download", "finetune", "probe_train", "examine", "compare", "predict", "evaluate", "describe"),
        *("differences", "report", "page", "verify", "experiments"),
    ],
)
def test_every_stage_has_help(stage: str) -> None:
    out = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Usage" in out.stdout

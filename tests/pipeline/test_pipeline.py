"""dvc.yaml says what the code does: deps are the imports, params are the sections read. No stage is run."""

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from stages.qa.config import Params, load_params
from stages.qa.sections import Section

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
# Not dependencies: types without values, and what no result depends on.
UNTRACKED_NAMES = ("cli", "config", "errors", "processes", "progress", "sections")
UNTRACKED = {f"stages/qa/{name}.py" for name in UNTRACKED_NAMES}
# Left may not import right; two of one level may not import each other.
LEVELS = [
    ["errors"],
    ["sections"],
    ["config", "processes"],
    ["progress", "cli"],
    ["files", "readings"],
    ["data"],
    ["metric", "models"],
    ["finetuning", "encoding", "sources"],
    ["probing"],
    ["answering"],
    ["scoring"],
    ["checks"],
    ["report", "notebook"],
]


def pipeline(root: Path = ROOT) -> dict[str, Any]:
    return {name: spec["do"] for name, spec in YAML(typ="safe").load(root / "dvc.yaml")["stages"].items()}


@cache
def imports(path: Path, root: Path) -> set[Path]:
    """The project's modules that `path` imports, directly."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = {root / f"{name.replace('.', '/')}.py" for name in names if name.startswith("stages.")}
    return {file for file in files if file.exists()}


def room(file: Path, root: Path) -> str:
    """What dvc.yaml names for a module: its folder of stages/qa, or the module itself."""
    place = file.relative_to(root)
    return "/".join(place.parts[:3]) if place.parts[1] == "qa" else place.as_posix()


def needed_rooms(script: Path, root: Path) -> set[str]:
    """The script, and the rooms of all modules that it needs."""
    todo, seen = [script], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imports(file, root)
    return {room(file, root) for file in seen} - UNTRACKED


def sections_read(path: Path) -> set[str]:
    """Sections that a stage reads: attributes of what load_params returns."""
    read = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            direct = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "load_params"
            if direct or (isinstance(node.value, ast.Name) and node.value.id == "params"):
                read.add(node.attr)
    return read & set(Params.model_fields)


def sections_named(stage: dict[str, Any]) -> set[str]:
    """Sections of both files that dvc.yaml names; those under `effort` and `finetuning` complete others."""
    named: set[str] = set()
    for entry in stage.get("params", []):
        names = [entry] if isinstance(entry, str) else entry.get("method.yaml") or list(METHOD)
        named |= {name.removeprefix("effort.").split(".")[0] for name in names}
    return named - {"effort", "finetuning"}


METHOD = YAML(typ="safe").load(ROOT / "method.yaml")


def faults(root: Path) -> list[str]:
    """Where dvc.yaml and the code disagree."""
    found = []
    for name, stage in pipeline(root).items():
        script = Path(re.search(r"-m (?:stages\.launch )?(stages\.\w+)", stage["cmd"])[1].replace(".", "/") + ".py")
        code = {dep for dep in stage["deps"] if dep.startswith("stages/")}
        if code != (needed := needed_rooms(root / script, root)):
            found.append(f"{name}: deps lack {sorted(needed - code)}, have unused {sorted(code - needed)}")
        named, read = sections_named(stage), sections_read(root / script)
        if name in ("dataset", "download"):  # one script, two commands
            read &= {"datasets" if name == "dataset" else "encoders"}
        if name != "report" and named != read:  # the page tells all settings
            found.append(f"{name}: params {sorted(named)}, reads {sorted(read)}")
        if any("/qa/" not in place for place in needed - {script.as_posix()}):
            found.append(f"{name}: imports another stage")
    return found


def test_deps_are_imports_and_params_are_reads() -> None:
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dvc.yaml", "      - stages/qa/probing\n", ""),
        ("dvc.yaml", "      - finetuned.${key}\n", ""),
        ("dvc.yaml", "      - headline\n      - protocols\n", "      - headline\n      - probed\n      - protocols\n"),
        ("stages/report.py", "from pathlib", "import stages.evaluate\nfrom pathlib"),
        ("stages/qa/metric.py", "import json", "import json\n\nimport stages.qa.finetuning.resuming"),
    ],
)
def test_negative_controls(tmp_path: Path, file: str, old: str, new: str) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert faults(tmp_path) != []


def level(file: Path) -> int:
    name = file.relative_to(ROOT / "stages/qa").parts[0].removesuffix(".py")
    return next(place for place, names in enumerate(LEVELS) if name in names)


def test_imports_run_one_way() -> None:
    for file in (ROOT / "stages/qa").rglob("*.py"):
        if file.name == "__init__.py":
            continue
        for other in imports(file, ROOT):
            assert "qa" in other.parts, f"{file} imports a stage"
            if room(file, ROOT) != room(other, ROOT):
                assert level(other) < level(file), f"{file} imports {other}"


def test_the_library_knows_no_path() -> None:
    for file in (ROOT / "stages" / "qa").rglob("*.py"):
        assert not re.search(r"[\"'](data|metrics|plots|studies)/", file.read_text()), f"{file} knows a path"


def test_method_values_have_no_default_in_code() -> None:
    may_be_absent = {"checksum", "articles", "sha256", "random_weights_of", "seed", "probes", "dropout"}
    may_be_absent |= {"stop_after"}
    for model in Section.__subclasses__():
        for name, field in model.model_fields.items():
            assert field.is_required() or name in may_be_absent, f"{model.__name__}.{name} has a default"


def definition(target: Path, study: Path) -> Repo:
    """A copy of the pipeline's definition under `study`, without its data."""
    for name in ("dvc.yaml", ".dvcignore", "method.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, target)
    for name in ("stages", "data/sample", "studies/published"):
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
        above = {stage.name for stage in nx.descendants(graph, stages[f"report@{params.study}"])}
        for kind in ("probe_train", "examine", "predict", "evaluate"):
            keys = params.runs if kind in ("probe_train", "predict") else params.probed
            expected = {f"{kind}@{key}" for key in keys}
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
    shutil.copy(ROOT / "dvc.lock", tmp_path)
    for name in ("metrics", "plots"):
        shutil.copytree(ROOT / name, tmp_path / name)
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
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--force"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"Running stage '(\S+)':", out)) == stages


def test_the_committed_lock_is_current(tmp_path: Path) -> None:
    assert would_run(tmp_path, "params.yaml", "study: demo", "study: demo") == set()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("stages/qa/report/templates/page.css", ":root {", ":root  {"),
        ("stages/qa/report/figures.py", '"""', '"""New. '),
    ],
)
def test_an_edit_of_the_report_runs_the_report_alone(tmp_path: Path, file: str, old: str, new: str) -> None:
    assert would_run(tmp_path, file, old, new) == {"report@demo"}


def test_another_model_leaves_the_others_alone(tmp_path: Path) -> None:
    added = "  other:\n    <<: *minilm\n    random_weights_of: minilm\n    seed: 1\n"
    before = "# Checkpoints to train here"
    assert would_run(tmp_path, "params.yaml", before, f"{added}\n{before}") == {"download@other", "report@demo"}


@pytest.mark.parametrize(
    ("what", "stages"),
    [
        ("effort.probe", {"probe_train"}),
        ("effort.convex", {"probe_train", "examine"}),
        ("effort.examine", {"examine", "compare"}),
        ("stages/qa/checks", {"examine", "compare"}),
        ("stages/qa/finetuning", {"finetune"}),
        ("stages/qa/probing", {"probe_train", "choose", "predict", "examine", "compare"}),
        ("stages/qa/answering", {"predict", "evaluate", "examine", "compare", "report"}),
        ("stages/qa/scoring", {"evaluate", "examine", "compare", "report"}),
        ("stages/qa/report", {"report"}),
        ("stages/qa/sources", {"dataset", "download"}),
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
        assert len(file.read_text().splitlines()) <= 60, f"{file.name} is long for a stage: move code to stages/qa"
    for file in (ROOT / "stages/qa").rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 250, f"{file.name}: does it still hold one idea?"


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_has_help(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if script.stem in ("__init__", "launch"):
        pytest.skip("no command of its own")
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert "Usage" in capsys.readouterr().out


def test_stages_without_an_encoder_start_without_torch() -> None:
    command = "import sys; from stages import download, evaluate, launch, offline, plan, report; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "scipy.stats"} & set(done.stdout.split())


def test_a_value_of_the_method_changes_for_one_experiment(tmp_path: Path) -> None:
    """As `dvc exp run -S method.yaml:convex.gap=1e-4` does it, and `dvc params diff` shows it."""
    definition(tmp_path, ROOT / "params.yaml").close()
    for command in (["git", "add", "-A"], ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    apply_overrides(tmp_path / "method.yaml", ["convex.gap=1e-4"])
    command = [sys.executable, "-m", "dvc", "params", "diff", "--json"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == {"method.yaml": {"convex.gap": {"old": 0.001, "new": 0.0001, "diff": -0.0009}}}
    assert load_params(tmp_path / "params.yaml", tmp_path / "method.yaml").convex.gap == 1e-4

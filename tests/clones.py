"""Clones of the project with a tiny study, whose stages are jobs of one process that has imported everything.

`dvc repro` in such a clone runs the real dvc.yaml; its `python` is a script that hands each `python -m stages.NAME ...`
to the launcher of the fault cases, and notes it.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.faults.study import few, write_squad
from tests.tiny_models import make_tiny, read_yaml, write_yaml

ROOT = Path(__file__).parents[1]
COPIED = (
    "dvc.yaml",
    "method.yaml",
    ".dvcignore",
    ".dvc/config",
    ".gitignore",
    "Makefile",
    "requirements.txt",
    "requirements-dev.txt",
)
FOLDERS = ("stages", "data/sample", "studies/published", "examples")
LEFT_OUT = ("examine", "report")  # stages that cost time and are of no other kind than those left
# MEET=n: probe_train waits until so many of them have started.
PYTHON = """#!{python} -SE
import json, os, pathlib, sys, time
stage, *arguments = sys.argv[2:]
stage = stage.removeprefix("stages.")
jobs, log = pathlib.Path("{jobs}"), pathlib.Path("{log}")
if stage == "plan":
    os.execv("{python}", ["{python}", *sys.argv[1:]])
name = f"{{os.getpid()}}-{{time.monotonic_ns()}}"
(log / name).write_text(json.dumps([stage, *arguments]))
if "stages.probe_train" in sys.argv and (n := int(os.environ.get("MEET", 0))):
    (log.with_name("met") / name).touch()
    end = time.monotonic() + 120
    while len(os.listdir(log.with_name("met"))) < n:
        if time.monotonic() > end:
            sys.exit("the others never came")
        time.sleep(0.02)
job = {{"name": name, "cwd": os.getcwd(), "arguments": [stage, *arguments], "hooks": [], "environment": {{}}}}
with open(jobs / "queue", "a") as queue:
    queue.write(json.dumps(job) + "\\n")
while not (jobs / (name + ".done")).exists():
    time.sleep(0.02)
sys.stdout.write((jobs / (name + ".out")).read_text())
sys.stderr.write((jobs / (name + ".err")).read_text())
sys.exit(json.loads((jobs / (name + ".done")).read_text())["code"])
"""


@dataclass(frozen=True)
class Clone:
    """A folder with the project and a study; beside it, a note of every stage that was run."""

    root: Path
    jobs: Path

    def __post_init__(self) -> None:
        log = Path(f"{self.root}-log")
        for folder in (log / "ran", log / "met", self.root / ".venv/bin"):
            folder.mkdir(parents=True)
        python = self.root / ".venv/bin/python"
        python.write_text(PYTHON.format(python=sys.executable, jobs=self.jobs, log=log / "ran"))
        python.chmod(0o755)
        (self.root / ".venv/.installed").touch()  # for make

    @property
    def ran(self) -> list[list[str]]:
        """The commands of the stages that ran in this clone, sorted."""
        return sorted(json.loads(note.read_text()) for note in Path(f"{self.root}-log/ran").iterdir())

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        """What a command says that must end with this exit code."""
        path = f"{self.root}/.venv/bin:{Path(sys.executable).parent}:{environment.pop('PATH', '')}:{os.environ['PATH']}"
        given = os.environ | {"PATH": path, "DVC_SITE_CACHE_DIR": f"{self.root}-log/site"} | environment
        done = subprocess.run(command, cwd=self.root, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t", "commit", "--quiet", "--message", "results")

    def again(self, name: str) -> "Clone":
        """A clone of this one by git: what DVC keeps is not in it."""
        target = self.root.with_name(name)
        self.run("git", "clone", "--quiet", ".", str(target))
        return Clone(target, self.jobs)


def make_clone(root: Path, jobs: Path) -> Clone:
    """The project's files at `root`, with a study of three tiny models on a dozen questions, committed."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    pipeline = read_yaml(root / "dvc.yaml")
    for name in LEFT_OUT:
        del pipeline["stages"][name]
    write_yaml(root / "dvc.yaml", pipeline)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    make_tiny("bert", root / "plain")
    (root / "plain/manifest.json").unlink()
    params = read_yaml(ROOT / "params.yaml")
    for name, questions in ("train", 12), ("dev", 8):
        write_squad(root / f"{name}.json", few(json.loads((ROOT / f"data/sample/{name}.json").read_text()), questions))
        params["datasets"]["sample"][name]["source"] = f"{name}.json"
    plain = {"sources": ["path:plain"]}
    params["encoders"] = {"plain": plain, "random": plain | {"random_weights_of": "plain", "seed": 1}}
    changes = {"base": "plain", "num_train_epochs": 1, "train_batch_size": 4}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | changes}
    models = ["random", "plain", "tuned"]
    params |= {"probed": models, "runs": {key: key for key in models}, "compared": {"tuned": "plain"}}
    params |= {"protocols": {"paper": params["protocols"]["paper"]}, "headline": "paper"}
    params["effort"]["probe"] |= {"epochs": 1, "seeds": [0]}
    params["effort"]["parts"] = {"validation_share": 0.0}
    params["effort"]["convex"]["l2"] = [0.1]
    write_yaml(root / "params.yaml", params)
    method = read_yaml(root / "method.yaml") | {"precision": "fp32", "optimizers": ["adamw"]}
    method["statistics"]["resamples"] = 100
    write_yaml(root / "method.yaml", method)
    (root / "plots/demo").mkdir(parents=True)
    (root / "plots/demo/report.md").write_text("what make repro shows at the end\n")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    clone = Clone(root, jobs)
    clone.commit()
    return clone

"""Check a study, and name its stages for running many models side by side; not a stage of the pipeline.

params.yaml, method.yaml, dvc.yaml -> names of stages, for `dvc repro`
"""

from pathlib import Path

from ruamel.yaml import YAML

from stages.qa.cli import run
from stages.qa.config import load_params


def _stages_of(keys: str) -> list[str]:
    """The stages that dvc.yaml has once for each of `keys`, a section of params.yaml, in its order.

    Without those that read a result of the whole study, such as the choice of l2.
    """
    stages = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    of_keys = {name: stage["do"]["deps"] for name, stage in stages.items() if stage["foreach"] == f"${{{keys}}}"}
    return [name for name, deps in of_keys.items() if not any(dep.startswith("metrics/") for dep in deps)]


def check() -> None:
    """Read params.yaml and method.yaml as the stages do: one line and exit code 2 if a key or value is wrong."""
    load_params()


def shared() -> None:
    """On one line: what is fetched, and the training of models that others are trained from."""
    finetuned = load_params().finetuned
    fetched = [*_stages_of("datasets"), *_stages_of("encoders")]
    bases = dict.fromkeys(run.base for run in finetuned.values() if run.base in finetuned)
    print(*fetched, *(f"{name}@{key}" for name in _stages_of("finetuned") for key in bases))


def models() -> None:
    """A line for each run of a model: its own stages up to the answers, in their order."""
    params = load_params()
    for key in params.runs:
        trained = _stages_of("finetuned") if key in params.finetuned else []
        print(*(f"{name}@{key}" for name in [*trained, *_stages_of("runs")]))


if __name__ == "__main__":
    run(check, shared, models)

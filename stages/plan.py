"""Name the stages that several models share, and those of each model: for running many models side by side.

params.yaml, dvc.yaml -> names of stages, for `dvc repro`
"""

from pathlib import Path

from ruamel.yaml import YAML

from stages.qa.cli import run
from stages.qa.config import load_params


def _stages_of(keys: str) -> list[str]:
    """The stages that dvc.yaml has once for each of `keys`, a section of params.yaml; in its order."""
    stages = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    return [name for name, stage in stages.items() if stage.get("foreach") == f"${{{keys}}}"]


def shared() -> None:
    """On one line: what is fetched, and the training of models that others are trained from."""
    finetuned = load_params().finetuned
    fetched = [*_stages_of("datasets"), *_stages_of("encoders")]
    bases = dict.fromkeys(variant.base for variant in finetuned.values() if variant.base in finetuned)
    print(*fetched, *(f"{name}@{key}" for name in _stages_of("finetuned") for key in bases))


def models() -> None:
    """A line for each model that is probed or whose head is read: its own stages, in their order."""
    params = load_params()
    trained = _stages_of("finetuned")
    for keys, stages in (params.probed, _stages_of("probed")), (params.heads, _stages_of("heads")):
        for key in keys:
            print(*(f"{name}@{key}" for name in (*(trained if key in params.finetuned else ()), *stages)))


if __name__ == "__main__":
    run(shared, models)

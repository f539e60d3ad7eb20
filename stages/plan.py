"""Check a study, and name its stages for running many models side by side; not a stage of the pipeline."""

from stages.qa.cli import run
from stages.qa.config import load_params


def check() -> None:
    """Read params.yaml and method.yaml as the stages do: one line and exit code 2 if a key or value is wrong."""
    load_params()


def shared() -> None:
    """On one line: what is fetched, and the training of models that others are trained from."""
    finetuned = load_params().finetuned
    bases = dict.fromkeys(run.base for run in finetuned.values() if run.base in finetuned)
    print("dataset", "download", *(f"finetune@{key}" for key in bases))


def models() -> None:
    """A line for each run of a model: its own stages up to the answers, in their order."""
    params = load_params()
    for key in params.runs:
        trained = ["finetune"] if key in params.finetuned else []
        print(*(f"{name}@{key}" for name in [*trained, "probe_train", "predict"]))


if __name__ == "__main__":
    run(check, shared, models)

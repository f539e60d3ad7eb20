"""`python -m benchmarks.fanout`: the stages of a study over N workers, one GPU each, on paper (docs/scaling.md).

The graph is DVC's own, of dvc.yaml under a study file; the durations are the cost model's, and the assumptions below.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from dvc.repo import Repo

from benchmarks.cost_model import BATCH, DEV, EPOCHS, TRAIN, frozen, tuning
from benchmarks.shapes import SHAPES, parameters
from stages.qa.config import Params, load_params

Graph = Mapping[str, Sequence[str]]  # stage -> the stages that it needs

WORKERS = (1, 2, 4, 8, 16)
START = 15.0  # seconds: a process, its imports, the checkpoint
FETCH = 60.0  # a download
EVALUATE, REPORT = 120.0, 60.0  # on the CPU; a report, a page or the differences
CONVEX_PASSES = 40  # over the training set, for both fits (`passes` in certificates.json tells)
FAMILIES = {
    "xxlarge": "ALBERT-xxlarge",
    "distilroberta": "DistilRoBERTa",
    "distilbert": "DistilBERT",
    "bert": "BERT-base",
}


def graph_of(study: Path, root: Path = Path()) -> dict[str, list[str]]:
    """The stages of dvc.yaml under `study`, and what each needs, in DVC's words; no data is wanted."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder, "project")
        for name in ("stages", "data/sample"):
            shutil.copytree(root / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "dvc.yaml", there)
        shutil.copy(study, there / "params.yaml")
        logging.getLogger("dvc").setLevel(logging.WARNING)  # it greets
        with Repo.init(str(there), no_scm=True) as repo:
            graph = repo.index.graph
            return {stage.name: sorted(need.name for need in graph.successors(stage)) for stage in graph}


def seconds_of(stage: str, params: Params) -> float:
    """A stage's duration on one GPU."""
    kind, _, key = stage.partition("@")
    if kind in ("dataset", "download"):
        return FETCH
    if kind in ("evaluate", "evaluate_head"):
        return START + EVALUATE
    if kind in ("differences", "report", "page", "describe", "describe_head"):
        return REPORT
    base = "ALBERT-base" if "albert-base" in key else next(s for name, s in FAMILIES.items() if name in key)
    config = SHAPES[base]
    if kind == "finetune":
        return START + tuning(config, parameters(config), 1, windows=BATCH).seconds
    if kind == "probe_train":
        adamw = frozen(config, 1, passes=EPOCHS, updates=EPOCHS * TRAIN[0] / BATCH).seconds
        convex = frozen(config, 1, passes=CONVEX_PASSES).seconds
        return START + adamw * ("adamw" in params.optimizers) + convex * ("convex" in params.optimizers)
    if kind in ("predict", "predict_head"):
        return START + frozen(config, 1, DEV).seconds
    share = (params.examine.training_questions + params.examine.dev_questions) / TRAIN[0]
    return START + frozen(config, 1, passes=3 * share * params.examine.epochs).seconds  # examine, compare


def priorities(needs: Graph, seconds: Mapping[str, float]) -> dict[str, float]:
    """For each stage, the seconds of the longest chain that starts with it."""
    users: dict[str, list[str]] = {stage: [] for stage in needs}
    for stage, needed in needs.items():
        for need in needed:
            users[need].append(stage)
    longest: dict[str, float] = {}

    def chain(stage: str) -> float:
        if stage not in longest:
            longest[stage] = seconds[stage] + max(map(chain, users[stage]), default=0.0)
        return longest[stage]

    return {stage: chain(stage) for stage in needs}


def critical_path(needs: Graph, seconds: Mapping[str, float]) -> list[str]:
    """The longest chain: no number of workers is faster."""
    rank = priorities(needs, seconds)
    path = [max(needs, key=lambda stage: (rank[stage], stage))]
    while users := [stage for stage, needed in needs.items() if path[-1] in needed]:
        path.append(max(users, key=lambda stage: (rank[stage], stage)))
    return path


def schedule(needs: Graph, seconds: Mapping[str, float], workers: int) -> float:
    """Seconds from start to end if a free worker takes, of the stages whose needs are done, that with most behind it.

    List scheduling by the critical path (Graham 1969: at most twice the best possible).
    """
    rank = priorities(needs, seconds)
    waiting, ends, now = set(needs), dict[str, float](), 0.0
    while waiting:
        ready = [s for s in waiting if all(ends.get(need, now + 1) <= now for need in needs[s])]
        free = workers - sum(end > now for end in ends.values())
        for stage in sorted(ready, key=lambda s: (-rank[s], s))[:free]:
            ends[stage] = now + seconds[stage]
            waiting.remove(stage)
        now = min((end for end in ends.values() if end > now), default=now)
    return max(ends.values())


def main(
    study: Annotated[Path, typer.Option(help="A file of studies/.")] = Path("studies/paper.yaml"),
) -> None:
    """Print the table and the critical path."""
    params = load_params(study)
    needs = graph_of(study)
    seconds = {stage: seconds_of(stage, params) for stage in needs}
    total, path = sum(seconds.values()), critical_path(needs, seconds)
    print(f"{len(needs)} stages, {total / 3600:.2f} hours one after the other\n")
    print("| workers | hours | speed-up | busy |\n|---:|---:|---:|---:|")
    for workers in WORKERS:
        span = schedule(needs, seconds, workers)
        print(f"| {workers} | {span / 3600:.2f} | {total / span:.1f} | {total / span / workers:.0%} |")
    chain = " -> ".join(f"{stage} ({seconds[stage] / 60:.1f} min)" for stage in path)
    print(f"\ncritical path, {sum(seconds[stage] for stage in path) / 3600:.2f} hours: {chain}")


if __name__ == "__main__":
    typer.run(main)

"""Experiments side by side: what `dvc exp show` knows, in columns that fit a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from stages.qa.report.tables import markdown, percent

SCORES = {"best_f1": "best F1", "last_f1": "last F1", "last_forced_f1": "last forced"}


def experiment_table(shown: Sequence[Mapping[str, Any]]) -> str:
    """A row per experiment and model of what `dvc exp show --json` prints: the parameters that differ, then SCORES.

    A parameter's column is named by its last word; the full names stand below. Experiments that failed have no scores.
    """
    states = list(_states(shown))
    params = [dict(_leaves(data["params"].get("params.yaml", {}).get("data", {}))) for _, data in states]
    keys = dict.fromkeys(key for own in params for key in own)
    changed = [key for key in keys if len({own.get(key) for own in params if own}) > 1]
    words = [key.rpartition(".")[2] for key in changed]
    labels = [word if words.count(word) == 1 else key for key, word in zip(changed, words, strict=True)]
    rows = [["experiment", *labels, "model", *SCORES.values()]]
    for (name, data), own in zip(states, params, strict=True):
        given = [name, *(own.get(key, "-") for key in changed)]
        for path, metrics in data["metrics"].items() or [("failed", {})]:
            scores = metrics.get("data", {})
            rows.append([*given, PurePosixPath(path).stem, *(percent(scores.get(score)) for score in SCORES)])
            given = [""] * len(given)  # once an experiment
    names = "".join(f"{label}: {key}\n" for label, key in zip(labels, changed, strict=True) if label != key)
    return markdown(rows, left=len(labels) + 2) + ("\n" + names if names else "")


def _states(shown: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and data of the workspace, each commit, and the experiments that started from it."""
    nothing: dict[str, Any] = {"params": {}, "metrics": {}}
    for state in shown:
        yield state["name"] or state["rev"][:9], state["data"] or nothing
        for experiment in state["experiments"] or []:
            for run in experiment["revs"]:
                yield f"+ {run['name'] or run['rev'][:7]}", run["data"] or nothing


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name and text of each parameter."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}" if key else name)
    else:
        yield key, str(value)

"""Time two ways to do the same work in turns, and compare the times of each pair."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


def seconds_of(work: Callable[[], object], *, repeat: int = 1) -> float:
    """Mean time of `work` over `repeat` calls."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def clock(work: Callable[[], object], *, repeat: int = 1) -> Callable[[], float]:
    """A function that does `work` and returns its mean time."""
    return lambda: seconds_of(work, repeat=repeat)


def start_seconds(module: str) -> float:
    """CPU time of a new process that imports `module` and ends."""
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@dataclass
class Row:
    """One row of the table: how both sides are timed, and their seconds, one pair a round."""

    name: str
    what: str
    time_baseline: Callable[[], float]
    time_ours: Callable[[], float]
    baseline: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def run(self, *, ours_first: bool) -> None:
        """Time both sides once more."""
        if ours_first:
            self.ours.append(self.time_ours())
            self.baseline.append(self.time_baseline())
        else:
            self.baseline.append(self.time_baseline())
            self.ours.append(self.time_ours())

    @property
    def ratios(self) -> list[float]:
        """Seconds of the baseline over ours, round by round."""
        return [theirs / mine for theirs, mine in zip(self.baseline, self.ours, strict=True)]

    def line(self) -> str:
        """The row in Markdown."""
        spread = f"{median(self.ratios):.3g} | {min(self.ratios):.3g} to {max(self.ratios):.3g}"
        seconds = f"{median(self.baseline):.3g} | {median(self.ours):.3g}"
        return f"| {self.name} | {self.what} | {spread} | {seconds} |"

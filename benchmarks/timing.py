"""Two ways of doing the same, timed in turns: wall clock and CPU time of the process, and their paired ratios."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Seconds:
    """Time of one piece of work."""

    wall: float
    cpu: float  # of all threads of the process

    def __truediv__(self, other: "Seconds | int | float") -> "Seconds":
        if isinstance(other, Seconds):
            return Seconds(self.wall / other.wall, self.cpu / other.cpu)
        return Seconds(self.wall / other, self.cpu / other)

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def now() -> Seconds:
    """Both clocks; differences of it are times."""
    return Seconds(time.perf_counter(), time.process_time())


def timed(work: Callable[[], Result], *, repeat: int = 1) -> tuple[Seconds, Result]:
    """Mean time of `work`, and what it gave."""
    gc.collect()
    start = now()
    for _ in range(repeat):
        result = work()
    return (now() - start) / repeat, result


@dataclass
class Row:
    """One line of the table: the baseline's and our times, one pair a round."""

    name: str
    what: str
    baseline: list[Seconds] = field(default_factory=list)
    ours: list[Seconds] = field(default_factory=list)

    def add(self, baseline: Seconds, ours: Seconds) -> None:
        self.baseline.append(baseline)
        self.ours.append(ours)

    @property
    def ratios(self) -> list[Seconds]:
        """Baseline over ours, round by round."""
        return [a / b for a, b in zip(self.baseline, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the wall clock's ratios."""
        return median(r.wall for r in self.ratios)

    def line(self, *, inverse: bool = False) -> str:
        """A row of the Markdown table; `inverse`: ours over the baseline's, for what a ratio above 1 costs."""
        sides = (self.ours, self.baseline) if inverse else (self.baseline, self.ours)
        walls = [a.wall / b.wall for a, b in zip(*sides, strict=True)]
        cpus = [a.cpu / b.cpu for a, b in zip(*sides, strict=True)]
        seconds = [median(s.wall for s in side) for side in (self.baseline, self.ours)]
        return (
            f"| {self.name} | {self.what} | {median(walls):.3g} | {min(walls):.3g} to {max(walls):.3g} | "
            f"{median(cpus):.3g} | {seconds[0]:.3g} | {seconds[1]:.3g} |"
        )

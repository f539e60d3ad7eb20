"""Time two ways to do the same work in turns: wall clock, CPU time, and the ratios of each pair."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Seconds:
    """The time of one piece of work."""

    wall: float
    cpu: float  # of all threads of the process

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, count: float) -> "Seconds":
        return Seconds(self.wall / count, self.cpu / count)


def now() -> Seconds:
    """Both clocks. The difference of two readings is a time."""
    return Seconds(time.perf_counter(), time.process_time())


def timed(work: Callable[[], Result], *, repeat: int = 1) -> tuple[Seconds, Result]:
    """Mean time of `work` over `repeat` calls, and the result of the last call."""
    gc.collect()
    start = now()
    for _ in range(repeat):
        result = work()
    return (now() - start) / repeat, result


def clock(work: Callable[[], object], *, repeat: int = 1) -> Callable[[], Seconds]:
    """A function that does `work` and returns its mean time."""
    return lambda: timed(work, repeat=repeat)[0]


@dataclass
class Row:
    """One row of the table: what is timed, and the times of both sides, one pair a round."""

    name: str
    what: str
    time_baseline: Callable[[], Seconds]
    time_ours: Callable[[], Seconds]
    baseline: list[Seconds] = field(default_factory=list)
    ours: list[Seconds] = field(default_factory=list)

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
        """Wall clock of the baseline over ours, round by round."""
        return [theirs.wall / mine.wall for theirs, mine in zip(self.baseline, self.ours, strict=True)]

    @property
    def cpu_ratios(self) -> list[float]:
        """CPU time of the baseline over ours, round by round."""
        return [theirs.cpu / mine.cpu for theirs, mine in zip(self.baseline, self.ours, strict=True)]

    def line(self) -> str:
        """The row in Markdown."""
        cells = [
            self.name,
            self.what,
            f"{median(self.ratios):.3g}",
            f"{min(self.ratios):.3g} to {max(self.ratios):.3g}",
            f"{median(self.cpu_ratios):.3g}",
            f"{median(time.wall for time in self.baseline):.3g}",
            f"{median(time.wall for time in self.ours):.3g}",
        ]
        return f"| {' | '.join(cells)} |"

"""Progress of long work: on a terminal a bar with the time left, in a log a plain line now and then."""

import io
import logging
import sys
from types import TracebackType

from tqdm import tqdm

from stages.qa.ranks import rank

logger = logging.getLogger(__name__)
LOG_SECONDS = 20.0  # between lines in a log
LOG_FORM = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _LogLines(io.StringIO):
    """Where tqdm writes if stderr is no terminal: each drawing of the bar becomes a log line."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            logger.info("%s", line)
        return len(text)


class Progress:
    """A tqdm bar, for a `with` block: Progress("encoding", total=100, unit="window")."""

    def __init__(self, label: str, *, total: int, unit: str) -> None:
        live = sys.stderr.isatty() and rank() == 0
        self._bar = tqdm(
            desc=label,
            total=total,
            unit=unit,
            file=sys.stderr if live else _LogLines(),
            mininterval=0.1 if live else LOG_SECONDS,
            maxinterval=10 if live else 2 * LOG_SECONDS,
            dynamic_ncols=live,
            ncols=None if live else 100,
            position=None if live else 0,  # else a bar inside another one writes movements of the cursor
            ascii=not live,
            bar_format=None if live else LOG_FORM,
        )

    def advance(self, count: int = 1, **values: float) -> None:
        """Count `count` more units as done, and show `values` beside the bar."""
        if values:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
        self._bar.update(count)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

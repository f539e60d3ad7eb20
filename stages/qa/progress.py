"""Progress of long work: on a terminal a bar with the time left, in a log a plain line now and then."""

import io
import logging
import sys

from tqdm import tqdm

from stages.qa.processes import rank

logger = logging.getLogger(__name__)
LOG_SECONDS = 20.0  # between lines in a log
LOG_FORM = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _LogLines(io.StringIO):
    """Where tqdm writes if stderr is no terminal: each drawing of the bar becomes a log line."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            logger.info("%s", line)
        return len(text)


def progress_bar(label: str, *, total: int, unit: str) -> tqdm:
    """A bar for a `with` block; `update(count)` counts units as done, `set_postfix` shows values beside it."""
    live = sys.stderr.isatty() and rank() == 0
    return tqdm(
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

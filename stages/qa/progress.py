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
    if sys.stderr.isatty() and rank() == 0:
        return tqdm(desc=label, total=total, unit=unit, dynamic_ncols=True)
    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        file=_LogLines(),
        mininterval=LOG_SECONDS,
        maxinterval=2 * LOG_SECONDS,
        ncols=100,
        position=0,  # else a bar inside another one writes movements of the cursor
        ascii=True,
        bar_format=LOG_FORM,
    )

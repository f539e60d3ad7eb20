"""Let `dvc plots show` and `dvc plots diff` write pages that need no network: a template with the chart library.

`make setup` runs it, and tells DVC of it with `dvc config --local plots.html_template plots/offline.html`.
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.files import write_text
from stages.qa.report.html import plots_template


def main(out: Path) -> None:
    """Write the template to OUT."""
    write_text(out, plots_template())


if __name__ == "__main__":
    run(main)

"""Write the hub's current commit in the place of every revision of zeros in a study file, once and for all.

params.yaml -> params.yaml
"""

from pathlib import Path

from stages.qa.cli import run
from stages.qa.sources.pinning import pin


def main(study: Path) -> None:
    """Pin the hub sources of STUDY (params.yaml or a file of studies/) that have no revision yet."""
    for line in pin(study):
        print(line)


if __name__ == "__main__":
    run(main)

"""Hash again what DVC keeps: it trusts its cache, and calls a file up to date that a disk or a hand has damaged.

dvc.lock, DVC's cache, outputs -> nothing
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.cli import run
from stages.qa.stored import check_cache, check_outputs


def main(
    lock: Annotated[Path, Option(help="What the outputs should be.")] = Path("dvc.lock"),
    cache: Annotated[Path, Option(help="Folder of DVC's md5 cache.")] = Path(".dvc/cache/files/md5"),
) -> None:
    """Check every file of CACHE against its name and every output against LOCK; exit code 3 names what is damaged."""
    objects = check_cache(cache)
    checked, absent = check_outputs(lock)
    print(f"{objects} files of the cache and {checked} outputs are what their checksums say; {absent} are not here")


if __name__ == "__main__":
    run(main)

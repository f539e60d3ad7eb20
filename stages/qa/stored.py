"""Is what DVC stored still what it stored? Hashes of its cache and of the outputs that dvc.lock lists."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.qa.errors import IntegrityError


def check_cache(cache: Path) -> int:
    """The number of files in DVC's md5 cache, all named for their content; IntegrityError names those that are not.

    Layout: <2 digits>/<30 digits>, with the ending .dir for the listing of a folder.
    """
    files = sorted(path for path in cache.glob("[0-9a-f][0-9a-f]/*") if path.is_file())
    _tell([str(path) for path in files if _md5(path) != path.parent.name + path.name.removesuffix(".dir")], "remove it")
    return len(files)


def check_outputs(lock: Path) -> tuple[int, int]:
    """How many of the outputs in dvc.lock are there and right, and how many are not there.

    IntegrityError names those that are not what dvc.lock says.
    """
    try:
        stages: dict[str, Any] = YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [(str(out["path"]), str(out["md5"])) for stage in stages.values() for out in stage.get("outs", ())]
    except (OSError, ValueError, YAMLError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{lock}: not a lock file of DVC ({type(error).__name__}: {error})") from error
    # DVC keeps entries of stages that params.yaml has no more, and another stage may write to the same place
    stated: dict[str, set[str]] = {}
    for path, md5 in outs:
        stated.setdefault(path, set()).add(md5)
    there = {path: sums for path, sums in stated.items() if (lock.parent / path).exists()}
    changed = [path for path, sums in there.items() if _output_md5(lock.parent / path) not in sums]
    _tell(changed, "dvc repro makes it again")
    return len(there), len(stated) - len(there)


def _tell(damaged: list[str], mend: str) -> None:
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise IntegrityError(f"{damaged[0]}{more}: content is not what its checksum says; {mend}")


def _output_md5(path: Path) -> str:
    """DVC's name for a file or a folder: of a folder, the md5 of the JSON list of its files, ending in .dir."""
    if path.is_file():
        return _md5(path)
    files = sorted((file.relative_to(path) for file in path.rglob("*") if file.is_file()), key=lambda file: file.parts)
    listing = [{"md5": _md5(path / file), "relpath": file.as_posix()} for file in files]
    return hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

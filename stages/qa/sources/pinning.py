"""Give hub sources that have no revision yet the hub's current commit: what is published must not move later."""

import re
from pathlib import Path

from huggingface_hub import HfApi

from stages.qa.errors import IntegrityError
from stages.qa.files import write_text
from stages.qa.models.manifest import UNPINNED, validate_source
from stages.qa.sources.hub import reason


def pin(study: Path, *, endpoint: str | None = None) -> list[str]:
    """Replace the zeros of every `hub:NAME@000...` in the file; returns one line for each.

    Nothing is written unless all names are found; IntegrityError names the one that is not.
    """
    text = study.read_text(encoding="utf-8")
    lines = []
    for name in dict.fromkeys(re.findall(rf"hub:(\S+)@{UNPINNED}", text)):
        try:
            commit = HfApi(endpoint=endpoint).model_info(name, revision="main", timeout=10).sha
            pinned = validate_source(f"hub:{name}@{commit}")
        except Exception as error:  # the client raises what it likes
            raise IntegrityError(f"{study}: hub:{name} cannot be pinned: {reason(error)}") from error
        text = text.replace(f"hub:{name}@{UNPINNED}", pinned)
        lines.append(f"{study}: {pinned}")
    write_text(study, text)
    return lines or [f"{study}: every hub source is pinned already"]

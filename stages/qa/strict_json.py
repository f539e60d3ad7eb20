"""JSON files given by a user, read strictly, and their values in the words of an error line."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from stages.qa.errors import InputError

_LOOKS_LIKE = (
    (b"\x1f\x8b", "a gzip file; unpack it first (gunzip)"),
    (b"version https://git-lfs", "a git-lfs pointer in place of the file; fetch it with git lfs pull"),
    (b"<", "an HTML or XML page; the download of this file went wrong"),
)


def read_strict_json(path: Path) -> Any:
    """Read a JSON file given by a user: strict UTF-8 (a byte order mark is allowed), no duplicate keys.

    Raises InputError: one line with the file and, where it has one, the line and column of the fault.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            owner = f"the object with id {shown(value['id'])}" if "id" in value else "one object"
            raise InputError(f"{path}: the key {shown(key)} appears twice in {owner}")
        return value

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    head = raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:40]
    if not head:
        raise InputError(f"{path}: the file is empty")
    for magic, what in _LOOKS_LIKE:
        if head.startswith(magic):
            raise InputError(f"{path}: looks like {what}")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
        return json.loads(text, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert it to UTF-8") from error
    except json.JSONDecodeError as error:
        hint = "; looks like JSON lines" if error.msg == "Extra data" and text[error.pos] in "[{" else ""
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            hint = "; the file looks truncated"
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}{hint}") from error
    except (RecursionError, ValueError) as error:  # brackets nested too deeply, an integer of thousands of digits
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error


def shown(value: object) -> str:
    """A JSON value in the words of an error line: kinds for lists and objects, else the value, cut to 60 characters."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""JSON files that a user gives, read strictly, and their values in the words of an error line."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from stages.qa.errors import InputError

_LOOKS_LIKE = (  # first bytes of files that are often given by mistake
    (b"\x1f\x8b", "a gzip file; unpack it first (gunzip)"),
    (b"PAR1", "a Parquet file; only the download stage reads those"),
    (b"version https://git-lfs", "a git-lfs pointer in place of the file; fetch it with git lfs pull"),
    (b"<", "an HTML or XML page; the download of this file went wrong"),
)


def read_strict_json(path: Path, *, of: str = "keys and values") -> dict[str, Any]:
    """The object in a JSON file: strict UTF-8 (a byte order mark is allowed), no key twice in one object.

    InputError is one line with the file and, for a fault of syntax, its line and column. `of`: what it should hold.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    head = raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:40]
    if not head:
        raise InputError(f"{path}: the file is empty")
    for first_bytes, what in _LOOKS_LIKE:
        if head.startswith(first_bytes):
            raise InputError(f"{path}: looks like {what}")
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert it to UTF-8") from error
    except json.JSONDecodeError as error:
        hint = ""
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            hint = "; the file looks truncated"
        elif error.msg == "Extra data" and text[error.pos] in "[{":
            hint = "; looks like JSON lines"
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}{hint}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, thousands of digits, or a key twice
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: the top level is {shown(value)}, not an object of {of}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file; ValueError if it has a key twice."""
    value = dict(pairs)
    if len(value) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        owner = f"the object with id {shown(value['id'])}" if "id" in value else "one object"
        raise ValueError(f"the key {shown(key)} appears twice in {owner}")
    return value


def shown(value: object) -> str:
    """A JSON value in the words of an error line: "a list", "an object", or the value, cut to 60 characters."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."

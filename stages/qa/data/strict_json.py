"""JSON files given by a user, read strictly, and their values in the words of an error line."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from stages.qa.errors import InputError

BLOCK = 2**20  # characters of a file that are read at once
_SPACE = re.compile("[ \t\n\r]*")
_LOOKS_LIKE = (
    (b"\x1f\x8b", "a gzip file; unpack it first (gunzip)"),
    (b"version https://git-lfs", "a git-lfs pointer in place of the file; fetch it with git lfs pull"),
    (b"<", "an HTML or XML page; the download of this file went wrong"),
)


def read_strict_json(path: Path) -> Any:
    """Read a JSON file given by a user: strict UTF-8 (a byte order mark is allowed), no duplicate keys.

    Raises InputError: one line with the file and, where it has one, the line and column of the fault.
    """
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
        return json.loads(text, object_pairs_hook=_unique_keys(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert it to UTF-8") from error
    except json.JSONDecodeError as error:
        hint = "; looks like JSON lines" if error.msg == "Extra data" and text[error.pos] in "[{" else ""
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            hint = "; the file looks truncated"
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}{hint}") from error
    except (RecursionError, ValueError) as error:  # brackets nested too deeply, an integer of thousands of digits
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error


def _unique_keys(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What the decoder makes objects of `path` with."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            owner = f"the object with id {shown(value['id'])}" if "id" in value else "one object"
            raise InputError(f"{path}: the key {shown(key)} appears twice in {owner}")
        return value

    return unique


class StrictList:
    """The list under `key` in the top-level object of a JSON file, read from it item by item, anew at each iteration.

    Each iteration reads the whole file with the checks of `read_strict_json`, and raises what that does. `root`, known
    after one, is the top-level value, with this very object in the place of the list if there is one.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.root: Any = None

    def __iter__(self) -> Iterator[Any]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._items(_Text(file, json.JSONDecoder(object_pairs_hook=_unique_keys(self.path))))
        except (InputError, OSError, RecursionError, ValueError):
            self.root = read_strict_json(self.path)  # reads all at once, to tell the line and column of the fault
            if isinstance(self.root, dict):
                raise

    def _items(self, text: "_Text") -> Iterator[Any]:
        root: dict[str, Any] = {}
        for _ in text.each("{", "}"):
            key = text.value()
            if not isinstance(key, str) or key in root:
                raise ValueError("no key, or one that is there twice")
            text.take(":")
            if key == self.key and text.sign() == "[":
                root[key] = self
                for _ in text.each("[", "]"):
                    yield text.value()
            else:
                root[key] = text.value()
        if text.sign():
            raise ValueError("extra data")
        self.root = root


class _Text:
    """The text of a file, read in blocks, from which signs and values are taken one after the other.

    What is not JSON is a ValueError.
    """

    def __init__(self, file: TextIO, decoder: json.JSONDecoder) -> None:
        self.file, self.decoder = file, decoder
        self.text, self.at = "", 0  # read, but for what was dropped; taken of it

    def _read_on(self) -> bool:
        """Whether there is more; as much as is not taken yet, so that a long value is not decoded again too often."""
        more = self.file.read(max(BLOCK, len(self.text) - self.at))
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def sign(self) -> str:
        """The next character but white space, not taken yet; "" at the end."""
        while True:
            self.at = cast(re.Match[str], _SPACE.match(self.text, self.at)).end()
            if self.at < len(self.text) or not self._read_on():
                return self.text[self.at : self.at + 1]

    def take(self, signs: str) -> str:
        """Take the next sign, one of `signs`."""
        sign = self.sign()
        if not sign or sign not in signs:
            raise ValueError(f"none of {signs}")
        self.at += 1
        return sign

    def value(self) -> Any:
        """Take a value, once the sign after it is read, too: a number at the end of a block may go on."""
        self.sign()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except ValueError:
                if not self._read_on():
                    raise
                continue
            if end < len(self.text) and self.text[end] in " \t\n\r,:]}":
                self.at = end
                return value
            if not self._read_on():
                raise ValueError("truncated")

    def each(self, opening: str, closing: str) -> Iterator[None]:
        """Once for each item between two brackets, which is to be taken meanwhile."""
        self.take(opening)
        if self.sign() == closing:
            self.take(closing)
            return
        while True:
            yield
            if self.take(f",{closing}") == closing:
                return


def shown(value: object) -> str:
    """A JSON value in the words of an error line: kinds for lists and objects, else the value, cut to 60 characters."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."

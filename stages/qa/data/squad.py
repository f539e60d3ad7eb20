"""SQuAD-format files, read strictly: a fault is told with file, place, id and likely cause, never repaired."""

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.qa.data.strict_json import StrictList, shown
from stages.qa.errors import InputError
from stages.qa.files import write_long_json

Purpose = Literal["train", "score", "predict"]
_Object = dict[str, Any]
_VERSIONS = ("v2.0", "2.0", "v1.1", "1.1")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Answer:
    """One gold answer."""

    text: str
    start: int  # characters into the context


@dataclass(frozen=True, slots=True)
class Example:
    """One question on one paragraph. Equal `paragraph` numbers mean the same paragraph; likewise `article`."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    is_impossible: bool | None  # None: the file hides its labels
    article: int  # running number in the file
    paragraph: int  # running number in the file
    title: str


def read_squad(path: Path, *, purpose: Purpose) -> list[Example]:
    """All that `stream_squad` yields."""
    return list(stream_squad(path, purpose=purpose))


def stream_squad(path: Path, *, purpose: Purpose) -> Iterator[Example]:
    """Read a SQuAD 2.0 or 1.1 file in its own order, an article at a time.

    Only a file whose version is 1.1 may lack is_impossible: all its questions have answers. A file of which no question
    has is_impossible or an answer hides its labels and is read for "predict" alone. For "train" every answer must be
    the slice of its context at answer_start; the metric needs no offsets, so otherwise any number from 0 on will do,
    and so will an empty answer. Keys that are not needed are ignored; title may be absent.

    The file is read twice: what one article cannot tell is learned first. Raises InputError, with what is not JSON at
    once, else at the end: one line with the first fault (file, place, id) and the number of the others.
    """
    data = StrictList(path, "data")
    hidden, repeated = _survey(data)
    root = data.root
    if not isinstance(root, dict):
        raise InputError(f'{path}: the top level is {shown(root)}, not an object with "version" and "data"')
    faults = Faults()
    version = faults.text(root, "version", "")
    if version and version not in _VERSIONS:
        faults.add("version", f"is {shown(version)}, not one of {', '.join(_VERSIONS)}")
    refused = hidden and purpose != "predict"
    questions = 0
    places: dict[str, str] = {}  # of ids that come again
    paragraph_numbers = count()
    article_numbers: dict[str | int, int] = {}
    for place_of_article, (in_article, article) in enumerate(faults.objects(root, "data", "")):
        title = faults.text(article, "title", in_article, may_be_blank=True) if "title" in article else ""
        article_number = article_numbers.setdefault(_identity(article, place_of_article), len(article_numbers))
        for in_paragraph, paragraph in faults.objects(article, "paragraphs", in_article):
            numbers = article_number, next(paragraph_numbers)
            context = faults.text(paragraph, "context", in_paragraph)
            for place, qa in faults.objects(paragraph, "qas", in_paragraph):
                id_ = faults.text(qa, "id", place)
                if id_ and hash(id_) in repeated and places.setdefault(id_, place) != place:
                    faults.add(f"{place}.id", f"is also the id of {places[id_]}; ids must be unique", id_)
                question = faults.text(qa, "question", place, id_)
                answers = read_answers(faults, qa, place, id_, context, purpose == "train")
                impossible = None if hidden else _is_impossible(faults, qa, place, id_, version)
                questions += 1
                if not (faults.number or refused):
                    yield Example(id_, question, context, answers, impossible, *numbers, title)
    faults.refuse(path)
    if not questions:
        raise InputError(f"{path}: no questions in the file")
    if refused:
        what = "no question has is_impossible or an answer"
        raise InputError(f"{path}: labels are hidden: every empty answer would count as right ({what})")


def _survey(articles: Iterable[Any]) -> tuple[bool, set[int]]:
    """Whether no question has is_impossible and all have an empty list of answers; and the hashes of ids seen again.

    Needs no valid file.
    """
    hidden, hashes = True, array("q")
    for article in articles:
        level: list[Any] = [article]
        for key in ("paragraphs", "qas"):
            lists = [item.get(key) for item in level if isinstance(item, dict)]
            level = [item for items in lists if isinstance(items, list) for item in items]
        for qa in level:
            hidden &= isinstance(qa, dict) and "is_impossible" not in qa and qa.get("answers") == []
            if isinstance(qa, dict) and isinstance(qa.get("id"), str):
                hashes.append(hash(qa["id"]))
    ordered = np.frombuffer(hashes, dtype=np.int64)
    ordered.sort()
    return hidden, set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def keep_articles(path: Path, articles: int) -> None:
    """Cut the file at `path` down to its first articles; InputError if it is not SQuAD-format."""
    data = _articles(path)
    write_long_json(path, data.root, "data", islice(data, articles))


def hold_out(path: Path, held: Path, share: float) -> None:
    """Move a share of the articles of the file at `path`, evenly spread, to the file `held`; none if it is 0.

    Articles of one title are one article.

    InputError if the file is not SQuAD-format, or if either file would have no article.
    """
    if not share:
        return
    data = _articles(path)
    titles = [_identity(article, place) for place, article in enumerate(data)]
    places = {title: place for place, title in enumerate(dict.fromkeys(titles))}
    moved = [int((places[title] + 1) * share) > int(places[title] * share) for title in titles]
    if len(set(moved)) < 2:
        raise InputError(f"{path}: threshold_share {share:g} of {len(places)} articles leaves none on one side")
    for target, is_held_out in ((held, True), (path, False)):
        kept = (article for article, is_moved in zip(data, moved, strict=True) if is_moved == is_held_out)
        write_long_json(target, data.root, "data", kept)


def _identity(article: object, place: int) -> str | int:
    """What tells an article from others: its title, or its place in the file if it has none."""
    title = article.get("title") if isinstance(article, dict) else None
    return title if isinstance(title, str) and title.strip() else place


def _articles(path: Path) -> StrictList:
    data = StrictList(path, "data")
    for _ in data:
        pass
    if not isinstance(data.root, dict) or data.root.get("data") is not data:
        raise InputError(f'{path}: not an object with "version" and "data"')
    return data


@dataclass(slots=True)
class Faults:
    """The first fault of a file, and the number of all."""

    first: str = ""
    number: int = 0

    def refuse(self, path: Path) -> None:
        """InputError if there is a fault."""
        if self.number:
            more = f" (and {self.number - 1} more)" if self.number > 1 else ""
            raise InputError(f"{path}: {self.first}{more}")

    def add(self, place: str, what: str, id_: str = "") -> None:
        if not self.number:
            self.first = f"{place}{f' (id {shown(id_)})' if id_ else ''}: {what}"
        self.number += 1

    def text(self, owner: _Object, key: str, place: str, id_: str = "", may_be_blank: bool = False) -> str:
        """The string owner[key], or "" after adding a fault."""
        value = owner.get(key)
        if key not in owner:
            what = "is missing"
        elif not isinstance(value, str):
            what = f"is {shown(value)}, not a string"
        elif not may_be_blank and not value.strip():
            what = "is blank" if value else "is empty"
        elif not value.isascii() and _LONE_SURROGATE.search(value):
            what = "holds half a surrogate pair (\\ud800 to \\udfff alone), which is no character"
        else:
            return value
        self.add(f"{place}.{key}".lstrip("."), what, id_)
        return ""

    def objects(self, owner: _Object, key: str, place: str, id_: str = "") -> Iterator[tuple[str, _Object]]:
        """Place and value of each object in the list owner[key]; what is not a list of objects is a fault."""
        place = f"{place}.{key}".lstrip(".")
        items = owner.get(key)
        if not isinstance(items, list | StrictList):
            what = "is missing" if key not in owner else f"is {shown(items)}, not a list"
            if key == "answers" and isinstance(items, dict):
                what += ' of {"text", "answer_start"} objects; looks like the layout of Hugging Face datasets'
            self.add(place, what, id_)
            return
        for index, item in enumerate(items):
            if isinstance(item, dict):
                yield f"{place}[{index}]", item
            else:
                self.add(f"{place}[{index}]", f"is {shown(item)}, not an object", id_)


def read_answers(faults: Faults, qa: _Object, place: str, id_: str, context: str, train: bool) -> tuple[Answer, ...]:
    """The answers of one question; in `train`, each must be the slice of its context at answer_start."""
    answers = []
    for here, answer in faults.objects(qa, "answers", place, id_):
        text = faults.text(answer, "text", here, id_, may_be_blank=not train)
        start = answer.get("answer_start")
        what = ""
        if type(start) is not int:  # true is an int, too
            what = f"is {shown(start)}, not a whole number" if "answer_start" in answer else "is missing"
        elif start < 0:
            what = f"is {shown(start)}, before the start of the context"
        elif train and text and context and (found := context[start : start + len(text)]) != text:
            at = context.find(text)
            where = f"which is first at {at}" if at >= 0 else "which is not in the context"
            what = f"is {start}, where the context has {shown(found)}, not the answer {shown(text)}, {where}"
        if what:
            faults.add(f"{here}.answer_start", what, id_)
        answers.append(Answer(text, start if isinstance(start, int) else 0))
    return tuple(answers)


def _is_impossible(faults: Faults, qa: _Object, place: str, id_: str, version: str) -> bool:
    value = qa.get("is_impossible", False)
    answers = qa.get("answers")
    if "is_impossible" not in qa and not version.endswith("1.1"):
        faults.add(f"{place}.is_impossible", 'is missing; a SQuAD 1.1 file must say "version": "1.1"', id_)
    elif not isinstance(value, bool):
        faults.add(f"{place}.is_impossible", f"is {shown(value)}, not true or false", id_)
    elif isinstance(answers, list) and value == bool(answers):
        faults.add(f"{place}.is_impossible", f"is {shown(value)}, but answers has {len(answers)} of them", id_)
    return bool(value)

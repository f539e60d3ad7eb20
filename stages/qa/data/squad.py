"""SQuAD-format files, read strictly: one line tells the first fault with file, place, id and likely cause.

pydantic checks the structure of a file: objects, lists, types and texts. The code below it checks what they mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, NonNegativeInt, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict  # pydantic takes the one of typing from Python 3.12 on

from stages.qa.data.strict_json import read_strict_json, shown
from stages.qa.errors import InputError
from stages.qa.files import write_json

Purpose = Literal["train", "score", "predict"]
Labels = Literal["required", "optional", "hidden"]
_HOLDS = '"version" and "data"'
_WORDS = {  # for pydantic's types of faults; the others have words that begin with "Input should be"
    "missing": "is missing",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is blank",
    "string_unicode": "holds half a surrogate pair (\\ud800 to \\udfff alone), which is no character",
}


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


_Text = Annotated[str, StringConstraints(min_length=0)]  # with a constraint, pydantic refuses half a surrogate pair
_VisibleText = Annotated[str, StringConstraints(min_length=1, pattern=r"[^\s\x1c-\x1f]")]  # what str.strip leaves


class _Answer(TypedDict):
    text: _Text
    answer_start: NonNegativeInt


class _Question(TypedDict):
    id: Annotated[_VisibleText, BeforeValidator(lambda id_: str(id_) if type(id_) is int else id_)]
    question: _VisibleText
    answers: list[_Answer]
    is_impossible: NotRequired[bool]


class _Paragraph(TypedDict):
    context: _VisibleText
    qas: list[_Question]


class _Article(TypedDict):
    title: NotRequired[_Text]
    paragraphs: list[_Paragraph]


class _File(TypedDict):  # keys that are not named here are ignored
    version: NotRequired[Any]
    data: list[_Article]


_STRUCTURE = TypeAdapter(_File)


def read_squad(path: Path, *, purpose: Purpose) -> list[Example]:
    """Read a SQuAD 2.0 or 1.1 file in its own order.

    A file whose version is not 2.0 may lack is_impossible: then all its questions have answers. A file of which no
    question has is_impossible or an answer hides its labels; only "predict" reads it. Every answer must be the slice of
    its context at answer_start, but for "score": the metric needs no offsets. An empty answer is refused for "train"
    alone. Articles of one title are one article; a title may be absent.

    InputError is one line with the first fault and the number of further ones. Faults of the structure come first.
    """
    file = _checked_structure(path, read_strict_json(path, of=_HOLDS))
    labels = _labels(file)
    examples: list[Example] = []
    faults: list[str] = []
    place_of_id: dict[str, str] = {}
    number_of_article: dict[str | int, int] = {}
    paragraph_number = 0
    for index, article in enumerate(file["data"]):
        title = article.get("title", "")
        identity = title if title.strip() else index  # an article without a title is one by itself
        article_number = number_of_article.setdefault(identity, len(number_of_article))
        for number, paragraph in enumerate(article["paragraphs"]):
            context = paragraph["context"]
            for place_in_qas, qa in enumerate(paragraph["qas"]):
                place = f"data[{index}].paragraphs[{number}].qas[{place_in_qas}]"
                first_place = place_of_id.setdefault(qa["id"], place)
                if first_place != place:
                    faults.append(f"{place}.id{_id_of(qa)}: is also the id of {first_place}; ids must be unique")
                for key, what in _faults(qa, context, purpose, labels):
                    faults.append(f"{place}.{key}{_id_of(qa)}: {what}")
                examples.append(
                    Example(
                        id=qa["id"],
                        question=qa["question"],
                        context=context,
                        answers=tuple(Answer(answer["text"], answer["answer_start"]) for answer in qa["answers"]),
                        is_impossible=None if labels == "hidden" else qa.get("is_impossible", False),
                        article=article_number,
                        paragraph=paragraph_number,
                        title=title,
                    )
                )
            paragraph_number += 1
    if faults:
        raise InputError(f"{path}: {faults[0]}{_further(len(faults))}")
    if not examples:
        raise InputError(f"{path}: no questions in the file")
    if labels == "hidden" and purpose != "predict":
        reason = "no question has is_impossible or an answer"
        raise InputError(f"{path}: labels are hidden: every empty answer would count as right ({reason})")
    return examples


def keep_articles(path: Path, articles: int) -> None:
    """Cut the file at `path` down to its first articles. InputError if it is not SQuAD-format."""
    document = read_strict_json(path, of=_HOLDS)
    _checked_structure(path, document)
    write_json(path, document | {"data": document["data"][:articles]})


def _checked_structure(path: Path, document: dict[str, Any]) -> _File:
    """The keys that are needed of a file's content; InputError if an object, a list or a type is wrong."""
    try:
        return _STRUCTURE.validate_python(document, strict=True)
    except ValidationError as error:
        fault = _structure_fault(error.errors()[0], document)
        raise InputError(f"{path}: {fault}{_further(error.error_count())}") from None


def _structure_fault(fault: ErrorDetails, document: Any) -> str:
    """Place, id and words of a fault that pydantic found."""
    place, id_, owner = "", "", document
    for key in fault["loc"]:
        place += f"[{key}]" if isinstance(key, int) else f".{key}"
        id_ = _id_of(owner) or id_
        owner = owner.get(key) if isinstance(owner, dict) else owner[key]
    expected = fault["msg"].removeprefix("Input should be ").replace("dictionary", "object")
    what = _WORDS.get(fault["type"], f"is {shown(fault['input'])}, not {expected}")
    if place.endswith(".answers") and isinstance(fault["input"], dict) and fault["type"] != "missing":
        what += ' of {"text", "answer_start"} objects; looks like the layout of Hugging Face datasets'
    return f"{place.removeprefix('.')}{id_}: {what}"


def _labels(file: _File) -> Labels:
    """What the file says about is_impossible: it hides it in all questions, may leave it out, or must have it."""
    paragraphs = [paragraph for article in file["data"] for paragraph in article["paragraphs"]]
    questions = [qa for paragraph in paragraphs for qa in paragraph["qas"]]
    has_labels = any("is_impossible" in qa for qa in questions)
    if not has_labels and not any(qa["answers"] for qa in questions):
        return "hidden"
    version = str(file.get("version"))
    may_lack_them = version.endswith("1.1") or not (has_labels or version.endswith("2.0"))
    return "optional" if may_lack_them else "required"


def _faults(qa: _Question, context: str, purpose: Purpose, labels: Labels) -> Iterator[tuple[str, str]]:
    """Key and words of each fault in the values of one question."""
    for number, answer in enumerate(qa["answers"]):
        text, start = answer["text"], answer["answer_start"]
        if purpose == "train" and not text.strip():
            yield f"answers[{number}].text", "is blank" if text else "is empty"
        elif purpose != "score" and text.strip() and not context.startswith(text, start):
            first, found = context.find(text), shown(context[start : start + len(text)])
            where = f"which is first at {first}" if first >= 0 else "which is not in the context"
            what = f"is {start}, where the context has {found}, not the answer {shown(text)}, {where}"
            yield f"answers[{number}].answer_start", what
    is_impossible, answers = qa.get("is_impossible", False), len(qa["answers"])
    if labels == "required" and "is_impossible" not in qa:
        yield "is_impossible", 'is missing; a SQuAD 1.1 file must say "version": "1.1"'
    elif labels != "hidden" and is_impossible == bool(answers):
        yield "is_impossible", f"is {shown(is_impossible)}, but answers has {answers} of them"


def _id_of(owner: object) -> str:
    """The id of a question in brackets; an empty string for what has no proper id."""
    id_ = owner.get("id") if isinstance(owner, dict) else None
    return f" (id {shown(id_)})" if isinstance(id_, str) and id_.strip() else ""


def _further(faults: int) -> str:
    return f" (and {faults - 1} more)" if faults > 1 else ""

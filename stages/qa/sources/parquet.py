"""Parquet files in the layout of the hub's squad and squad_v2, a row a question, as one SQuAD-format document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.qa.data.strict_json import shown
from stages.qa.errors import InputError, one_line

_LAYOUT = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])),
    ]
)
_Row = dict[str, Any]


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def squad_from_parquet(files: Mapping[str, Path]) -> dict[str, Any]:
    """The rows of `files` (name in errors -> path), in their order, as the document of one SQuAD-format JSON file.

    Rows of one title are one article, those of one context in it one paragraph, in the order in which each came first.
    The layout has no is_impossible: a question without an answer is impossible, unless no question has an answer; then
    the labels are hidden. InputError if a file is damaged or has another layout. `read_squad` checks the values.
    """
    articles: dict[str, dict[str, list[_Row]]] = {}  # title -> context -> questions
    for name, path in files.items():
        for number, row in enumerate(_read_rows(name, path)):
            place = f"{name}: rows[{number}]"
            if not (row["title"] or "").strip():
                raise InputError(f"{place}.title (id {shown(row['id'])}): is empty; it tells which article a row is of")
            question = {"id": row["id"], "question": row["question"], "answers": _answers(row, place)}
            articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(question)
    data = [
        {"title": title, "paragraphs": [{"context": context, "qas": qas} for context, qas in paragraphs.items()]}
        for title, paragraphs in articles.items()
    ]
    questions = [qa for article in data for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    if any(qa["answers"] for qa in questions):
        for qa in questions:
            qa["is_impossible"] = not qa["answers"]
    return {"version": "v2.0", "data": data}


def _read_rows(name: str, path: Path) -> list[_Row]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = file.schema_arrow.names
            missing = [column for column in _LAYOUT.names if columns.count(column) != 1]
            if missing:
                raise InputError(f"{name}: must have one column {missing[0]}; has {', '.join(columns)[:200]}")
            table = file.read(columns=_LAYOUT.names).select(_LAYOUT.names)
        return table.cast(_LAYOUT).to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InputError(f"{name}: another layout than that of squad_v2 ({one_line(error)})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: a text is not UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: not a whole Parquet file of questions ({one_line(error)})") from error


def _answers(row: _Row, place: str) -> list[_Row]:
    """Text and start of each answer; the layout keeps the texts and the starts in a list each."""
    match row["answers"]:
        case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
            return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    raise InputError(
        f"{place}.answers (id {shown(row['id'])}): is not a list of text beside one of answer_start, as long"
    )

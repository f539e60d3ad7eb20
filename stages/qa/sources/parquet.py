"""Parquet files in the layout of the hub's squad and squad_v2, a row a question, become one SQuAD-format file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.qa.errors import InputError, one_line
from stages.qa.files import write_json

_TYPES = {name: pa.string() for name in ("id", "title", "context", "question")}
_TYPES["answers"] = pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int64())})


def convert(paths: Iterable[Path], out: Path) -> None:
    """Write the rows of all files as SQuAD 2.0 JSON.

    Rows of one title are one article, and its rows of one context one paragraph, in order of first appearance. A
    question without answers is impossible; if no question has any, labels are hidden, and is_impossible is left out.
    InputError for a file of another form. What is in the texts is left to `read_squad`.
    """
    articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
    questions = []
    for path in paths:
        for row in _read_rows(path):
            if not (row["title"] or "").strip():  # rows without one would become one article
                raise InputError(f"{path}: title (id {row['id']!r}): is empty")
            question = {"id": row["id"], "question": row["question"], "answers": _answers(path, row)}
            articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(question)
            questions.append(question)
    if any(question["answers"] for question in questions):
        for question in questions:
            question["is_impossible"] = not question["answers"]
    data = []
    for title, contexts in articles.items():
        paragraphs = [{"context": context, "qas": qas} for context, qas in contexts.items()]
        data.append({"title": title, "paragraphs": paragraphs})
    write_json(out, {"version": "v2.0", "data": data})


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        missing = [name for name in _TYPES if name not in table.column_names]
        if missing:
            raise InputError(f"{path}: the column {missing[0]} is missing; there are {', '.join(table.column_names)}")
        rows: list[dict[str, Any]] = table.select(list(_TYPES)).cast(pa.schema(_TYPES)).to_pylist()
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a Parquet file in the layout of squad_v2 ({one_line(error)})") from error
    return rows


def _answers(path: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """SQuAD's list of answers, from the two lists of a row."""
    match row["answers"]:
        case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
            return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    raise InputError(f"{path}: answers (id {row['id']!r}): not a list of text beside one of answer_start, as long")

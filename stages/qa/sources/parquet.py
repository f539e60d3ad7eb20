"""Parquet files in the layout of the hub's squad and squad_v2, a row a question, read as strictly as SQuAD's JSON."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stages.qa.data.squad import Example, Faults, read_answers
from stages.qa.errors import InputError

MAGIC = b"PAR1"
_COLUMNS = ["id", "title", "context", "question", "answers"]
_ROWS = 1000  # in memory at once, as Python objects


def read_parquet(path: Path, *, purpose: Literal["train", "score", "predict"]) -> Iterator[Example]:
    """The rows of the file, one by one, with the checks of `read_squad`; title must be given.

    The layout has no is_impossible: it is False with an answer and None without. Articles and paragraphs are not
    numbered (0). InputError, at the first row with a fault: one line with file, row (from 0), column and id.
    """
    numbers = count()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            for name in _COLUMNS:
                if names.count(name) != 1:
                    has = "is missing" if name not in names else "is there more than once"
                    raise InputError(f"{path}: the column {name} {has}; the columns are {', '.join(names)[:200]}")
            for batch in file.iter_batches(_ROWS, columns=_COLUMNS):
                for row in batch.to_pylist():
                    yield _example(path, row, f"rows[{next(numbers)}]", purpose == "train")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: from rows[{next(numbers)}] on, a text is not UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error


def _example(path: Path, row: dict[str, Any], place: str, train: bool) -> Example:
    faults = Faults()
    id_ = faults.text(row, "id", place)
    title, context, question = (faults.text(row, key, place, id_) for key in ("title", "context", "question"))
    match row["answers"]:
        case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
            paired = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
            answers = read_answers(faults, {"answers": paired}, place, id_, context, train)
        case _:
            answers = ()
            faults.add(f"{place}.answers", "is not a list of text beside one of answer_start, as long", id_)
    faults.refuse(path)
    return Example(id_, question, context, answers, False if answers else None, 0, 0, title)

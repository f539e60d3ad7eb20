"""A data set in several files, SQuAD-format JSON or Parquet, becomes one SQuAD-format file.

What was read waits in a database on disk, so memory holds one article of a JSON shard, or some rows of a Parquet one,
whatever the size of all. It also finds an id again in another shard, and the article of a row that comes late.
"""

import contextlib
import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from stages.qa.data.squad import Example, Purpose, stream_squad
from stages.qa.data.strict_json import shown
from stages.qa.errors import InputError, ResourceError
from stages.qa.files import published
from stages.qa.sources.parquet import MAGIC, read_parquet

_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE article (number INTEGER PRIMARY KEY, title TEXT, part TEXT, UNIQUE (title, part));
CREATE TABLE paragraph (number INTEGER PRIMARY KEY, article INT, digest BLOB, context TEXT, UNIQUE (article, digest));
CREATE TABLE question (
    number INTEGER PRIMARY KEY, paragraph INT, shard TEXT, id TEXT UNIQUE, labelled INT, content TEXT
);
CREATE INDEX of_paragraph ON question (paragraph);
"""
_IN_ORDER = """
SELECT article.number, title, paragraph.number, context, content
FROM article CROSS JOIN paragraph ON article = article.number CROSS JOIN question ON paragraph = paragraph.number
WHERE article.number <= ? ORDER BY article.number, paragraph.number, question.number
"""


def join_shards(
    shards: Iterable[tuple[str, Path]], out: Path, *, purpose: Purpose, articles: int | None = None
) -> None:
    """Write the questions of the (name, file) `shards` to `out`: of the first `articles` alone, if that is a number.

    Rows of one title are one article, those of one context in it one paragraph, in the order in which each came first;
    an article of a JSON shard that has no title is one by itself. InputError names the shard and its first fault. What
    no file shows alone is a fault as well: an id that another shard has, labels that only some shards hide.
    """
    place = out.with_name(f".{out.name}.sqlite")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(place)) as database:
            database.executescript(_TABLES)
            hidden = [name for name, path in shards if _store(database, name, path, purpose)]
            labelled = bool(database.execute("SELECT MAX(labelled) FROM question").fetchone()[0])
            if hidden and labelled:
                raise InputError(f"{hidden[0]}: labels are hidden, those of other shards are not")
            if not labelled and purpose != "predict":
                raise InputError(f"{out}: no question of its shards has an answer: labels are hidden")
            with published(out) as partial:
                _write(partial, _articles(database, articles, labelled))
    except sqlite3.OperationalError as error:
        raise ResourceError(f"{place}: cannot be written ({error}); is the disk full?") from error
    finally:
        place.unlink(missing_ok=True)


def _store(database: sqlite3.Connection, name: str, path: Path, purpose: Purpose) -> bool:
    """Put the questions of a shard into the database; whether the shard is one that hides its labels."""
    hidden = False
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(MAGIC)) == MAGIC
        examples = read_parquet(path, purpose=purpose) if is_parquet else stream_squad(path, purpose=purpose)
        for example in examples:
            _insert(database, name, example)
            hidden = example.is_impossible is None and not is_parquet
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    return hidden


def _insert(database: sqlite3.Connection, shard: str, example: Example) -> None:
    untitled = "" if example.title.strip() else f"{shard} {example.article}"
    article = _number(database, "article", title=example.title, part=untitled)
    digest = hashlib.sha256(example.context.encode()).digest()
    paragraph = _number(database, "paragraph", {"context": example.context}, article=article, digest=digest)
    answers = [{"text": answer.text, "answer_start": answer.start} for answer in example.answers]
    fields: dict[str, Any] = {"question": example.question, "id": example.id, "answers": answers}
    labelled = example.is_impossible is not None
    if labelled:
        fields["is_impossible"] = example.is_impossible
    try:
        database.execute(
            "INSERT INTO question VALUES (NULL, ?, ?, ?, ?, ?)",
            (paragraph, shard, example.id, labelled, json.dumps(fields)),
        )
    except sqlite3.IntegrityError:
        (other,) = database.execute("SELECT shard FROM question WHERE id = ?", (example.id,)).fetchone()
        where = "twice in it" if other == shard else f"in {other} as well"
        raise InputError(f"{shard}: the id {shown(example.id)} is {where}; ids must be unique") from None


def _number(database: sqlite3.Connection, table: str, more: dict[str, Any] | None = None, **key: Any) -> int:
    """The number of the row with this key, which is made if there is none, with `more` in it."""
    same = " AND ".join(f"{name} = :{name}" for name in key)
    found = database.execute(f"SELECT number FROM {table} WHERE {same}", key).fetchone()
    if found:
        return int(found[0])
    values = key | (more or {})
    names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    return int(database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values).lastrowid or 0)


def _articles(database: sqlite3.Connection, articles: int | None, labelled: bool) -> Iterator[dict[str, Any]]:
    """SQuAD's objects, one after the other; in labelled data, a question without an answer is an impossible one."""
    rows = database.execute(_IN_ORDER, (sys.maxsize if articles is None else articles,))
    for (_, title), of_article in groupby(rows, key=itemgetter(0, 1)):
        paragraphs = []
        for (_, context), of_paragraph in groupby(of_article, key=itemgetter(2, 3)):
            qas = [json.loads(content) for *_, content in of_paragraph]
            if labelled:
                qas = [{"is_impossible": True} | qa for qa in qas]
            paragraphs.append({"context": context, "qas": qas})
        yield {"title": title, "paragraphs": paragraphs}


def _write(path: Path, articles: Iterable[dict[str, Any]]) -> None:
    """ASCII JSON, a line an article."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write('{"version": "v2.0", "data": [')
        for number, article in enumerate(articles):
            file.write(f"{',' if number else ''}\n{json.dumps(article)}")
        file.write("\n]}\n")

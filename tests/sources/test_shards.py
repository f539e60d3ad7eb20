"""A data set in shards equals the same in one file, whatever its form, order or source; a fault is one line."""

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from stages.qa.sources.shards import join_shards

from benchmarks import data_memory
from stages.qa.data.squad import Example, read_squad
from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import checksum
from stages.qa.report.provenance import data_records
from stages.qa.sections import Dataset
from stages.qa.sources.fetch import fetch_shards
from tests import hub_lookalike
from tests.hub_lookalike import REVISION, Hub

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data/sample/train.json"
HF = f"hf://datasets/org/questions@{REVISION}/"
Row = dict[str, Any]


def row(example: Example) -> Row:
    """A question in the hub's layout."""
    texts, starts = [a.text for a in example.answers], [a.start for a in example.answers]
    columns = {"id": example.id, "title": example.title, "context": example.context, "question": example.question}
    return columns | {"answers": {"text": texts, "answer_start": starts}}


def write_parquet(path: Path, rows: Iterable[Row], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
    return path


def write_json(path: Path, articles: list[Any], version: str = "v2.0") -> Path:
    path.write_text(json.dumps({"version": version, "data": articles}))
    return path


def parts(things: list[Any], count: int) -> list[list[Any]]:
    return [[things[i] for i in range(k * len(things) // count, (k + 1) * len(things) // count)] for k in range(count)]


def named(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in paths]


def joined(paths: Iterable[Path], out: Path, purpose: Any = "train", articles: int | None = None) -> bytes:
    join_shards(named(paths), out, purpose=purpose, articles=articles)
    return out.read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with hub_lookalike.serve({"datasets/org/questions": tmp_path / "origin"}) as running:
        running.use(monkeypatch, tmp_path / "home")
        yield running


def test_all_forms_give_the_same_questions(hub: Hub, sample: list[Example], tmp_path: Path) -> None:
    """One JSON file, JSON shards cut through an article, Parquet shards cut through a paragraph, the hub's."""
    data = json.loads(SAMPLE.read_text())["data"]
    first, *others = data
    halves = [first | {"paragraphs": part} for part in parts(first["paragraphs"], 2)]
    cut = [[halves[0]], [halves[1], *others[:1]], others[1:]]
    rows = [row(example) for example in sample]
    one = joined([SAMPLE], tmp_path / "one.json")
    of_json = joined([write_json(tmp_path / f"{k}.json", p) for k, p in enumerate(cut)], tmp_path / "of_json.json")
    tables = [
        write_parquet(tmp_path / f"origin/squad/train-{k}.parquet", p, row_group_size=7)
        for k, p in enumerate(parts(rows, 3))
    ]
    assert rows[len(rows) // 3 - 1]["context"] == rows[len(rows) // 3]["context"]
    of_parquet = joined(tables, tmp_path / "of_parquet.json")
    (tmp_path / "origin/README.md").write_text("not asked for")
    shards = fetch_shards([(f"{HF}squad/train-*.parquet", None)], tmp_path / "shards")
    join_shards(shards, tmp_path / "of_hub.json", purpose="train")
    assert of_json == of_parquet == (tmp_path / "of_hub.json").read_bytes() == one
    assert read_squad(tmp_path / "one.json", purpose="train") == sample == read_squad(SAMPLE, purpose="train")
    assert not (tmp_path / "shards").exists()
    assert not list(tmp_path.glob(".*"))


def test_the_hub_is_asked_once_and_its_bytes_are_checked(hub: Hub, sample: list[Example], tmp_path: Path) -> None:
    for k, part in enumerate(parts([row(example) for example in sample], 2)):
        write_parquet(tmp_path / f"origin/train-{k}.parquet", part)
    sources = [(f"{HF}train-*.parquet", None)]

    def fetched() -> list[str]:
        return [
            f"{name.removeprefix(HF)} {checksum(path)}" for name, path in fetch_shards(sources, tmp_path / "shards")
        ]

    expected = [f"train-{k}.parquet {checksum(tmp_path / f'origin/train-{k}.parquet')}" for k in (0, 1)]
    hub.fault("corrupt", "train-1.parquet", times=1)  # wrong once: it is fetched again
    assert fetched() == expected
    asked = len(hub.requests)
    assert fetched() == expected
    assert len(hub.requests) == asked
    (tmp_path / "home").rename(tmp_path / "old")  # nothing is cached any more
    for fault, told in (("404", "the server answered 404"), ("corrupt", "another version, or damaged at the source")):
        hub.fault(fault, "train-1.parquet" if fault == "corrupt" else "")
        with pytest.raises(IntegrityError, match=f"^{re.escape(sources[0][0])}: .*{told}"):
            fetched()
        hub.clear()
    with pytest.raises(IntegrityError, match="has no file other"):
        list(fetch_shards([(f"{HF}other", None)], tmp_path / "shards"))


def test_rows_in_any_order_form_the_same_articles(sample: list[Example], tmp_path: Path) -> None:
    """A shuffled data set: other order, but the articles and paragraphs that belong together."""
    rows = [row(example) for example in sample]
    shuffled = [rows[(7 * i) % len(rows)] for i in range(len(rows))]
    assert len({r["id"] for r in shuffled}) == len(rows)
    joined([write_parquet(tmp_path / "a.parquet", shuffled)], tmp_path / "out.json")
    found = read_squad(tmp_path / "out.json", purpose="train")

    def groups(examples: list[Example], of: Callable[[Example], int]) -> set[frozenset[str]]:
        ordered = sorted(examples, key=of)
        return {frozenset(e.id for e in group) for _, group in itertools.groupby(ordered, key=of)}

    for number in (lambda e: e.article), (lambda e: e.paragraph):
        assert groups(found, number) == groups(sample, number)
    plain = {e.id: replace(e, article=0, paragraph=0) for e in sample}
    assert {e.id: replace(e, article=0, paragraph=0) for e in found} == plain
    assert found[0].id == shuffled[0]["id"]


def test_the_first_articles_alone(sample: list[Example], tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "a.parquet", map(row, sample))
    joined([table], tmp_path / "out.json", articles=2)
    assert read_squad(tmp_path / "out.json", purpose="train") == [e for e in sample if e.article < 2]


def test_articles_without_a_title_stay_apart(tmp_path: Path) -> None:
    def article(n: int) -> Any:
        qa = {"id": f"q{n}", "question": "What?", "answers": [{"text": "Oaks", "answer_start": 0}]}
        return {"title": "" if n < 2 else " ", "paragraphs": [{"context": "Oaks live long.", "qas": [qa]}]}

    paths = [write_json(tmp_path / f"{n}.json", [article(2 * n), article(2 * n + 1)], "1.1") for n in (0, 1)]
    joined(paths, tmp_path / "out.json")
    assert [e.article for e in read_squad(tmp_path / "out.json", purpose="train")] == [0, 1, 2, 3]


def hidden(tmp_path: Path, name: str = "hidden.json") -> Path:
    qas = [{"id": "h1", "question": "What?", "answers": []}]
    return write_json(tmp_path / name, [{"title": "H", "paragraphs": [{"context": "Oaks.", "qas": qas}]}])


def test_hidden_labels_stay_hidden(sample: list[Example], tmp_path: Path) -> None:
    rows = [row(e) | {"answers": {"text": [], "answer_start": []}} for e in sample[:5]]
    schema = pa.Table.from_pylist([row(sample[0])]).schema
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    paths = [hidden(tmp_path), tmp_path / "a.parquet"]
    joined(paths, tmp_path / "out.json", "predict")
    assert {e.is_impossible for e in read_squad(tmp_path / "out.json", purpose="predict")} == {None}
    with pytest.raises(InputError, match="labels are hidden"):
        joined(paths[1:], tmp_path / "other.json", "train")
    labelled = write_parquet(tmp_path / "b.parquet", [row(e) for e in sample[5:9]])
    joined([paths[1], labelled], tmp_path / "out.json", "predict")  # one shard without an answer, another with
    found = read_squad(tmp_path / "out.json", purpose="score")
    assert [e.is_impossible for e in found[:5]] == [True] * 5
    with pytest.raises(InputError, match=r"^hidden.json: labels are hidden, those of other shards are not"):
        joined([*paths, labelled], tmp_path / "other.json", "predict")
    assert not (tmp_path / "other.json").exists()


def spoilt(rows: list[Row], number: int, **values: Any) -> list[Row]:
    return [r | values if n == number else r for n, r in enumerate(rows)]


def without(column: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{k: v for k, v in r.items() if k != column} for r in rows]


def answers(text: Any, start: Any) -> Callable[[list[Row]], list[Row]]:
    """An answer of row 3; the column's type is that of its values."""
    return lambda rows: [
        r | {"answers": {"text": [text], "answer_start": [start]}}
        if n == 3
        else r | {"answers": {"text": ["x"][:0], "answer_start": [0][:0]}}
        for n, r in enumerate(rows)
    ]


FAULTS: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "column-missing": (without("title"), "the column title is missing; the columns are id, context, question, answers"),
    "answers-missing": (without("answers"), "the column answers is missing"),
    "offset": (answers("Oaks", 1), r"rows[3].answers[0].answer_start (id 'q3'): is 1, where the context has"),
    "offset-negative": (answers("Oaks", -1), "rows[3].answers[0].answer_start (id 'q3'): is -1, before the start"),
    "offset-null": (answers("Oaks", None), "rows[3].answers[0].answer_start (id 'q3'): is null, not a whole number"),
    "offset-float": (answers("Oaks", 0.0), "rows[3].answers[0].answer_start (id 'q3'): is 0.0, not a whole number"),
    "text-null": (answers(None, 0), "rows[3].answers[0].text (id 'q3'): is null, not a string"),
    "title-empty": (lambda rows: spoilt(rows, 2, title=""), "rows[2].title (id 'q2'): is empty"),
    "id-null": (lambda rows: spoilt(rows, 2, id=None), "rows[2].id: is null, not a string"),
    "id-number": (lambda rows: [r | {"id": 7} for r in rows], "rows[0].id: is 7, not a string"),
    "context-blank": (lambda rows: spoilt(rows, 4, context=" "), "rows[4].context (id 'q4'): is blank"),
    "question-null": (lambda rows: spoilt(rows, 4, question=None), "rows[4].question (id 'q4'): is null"),
    "answers-null": (lambda rows: spoilt(rows, 1, answers=None), "rows[1].answers (id 'q1'): is not a list of text"),
    "answers-text": (lambda rows: [r | {"answers": "Oaks"} for r in rows], "rows[0].answers (id 'q0'): is not a list"),
    "answers-unequal": (
        lambda rows: spoilt(rows, 1, answers={"text": ["Oaks"], "answer_start": [0, 0]}),
        "rows[1].answers (id 'q1'): is not a list of text beside one of answer_start, as long",
    ),
    "id-twice": (lambda rows: spoilt(rows, 4, id="q1"), "the id 'q1' is twice in it; ids must be unique"),
    "id-of-another-shard": (lambda rows: spoilt(rows, 4, id="a1"), "the id 'a1' is in first.parquet as well"),
}  # fmt: skip


def few(letter: str) -> list[Row]:
    answer = {"text": ["Oaks"], "answer_start": [0]}
    common = {"title": "Trees", "context": "Oaks live long.", "question": "What?", "answers": answer}
    return [{"id": f"{letter}{n}", **common} for n in range(5)]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_shard_row_column_and_id(tmp_path: Path, name: str) -> None:
    spoil, told = FAULTS[name]
    first = write_parquet(tmp_path / "first.parquet", few("a"))
    second = write_parquet(tmp_path / "second.parquet", spoil(few("q")))
    with pytest.raises(InputError) as caught:
        joined([first, second], tmp_path / "out" / "train.json")
    assert str(caught.value).startswith(f"second.parquet: {told}")
    assert len(str(caught.value).splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(few("q"))
    bad = pa.Array.from_buffers(pa.string(), 5, pa.array([b"\xff"] * 5, pa.binary()).buffers())
    pq.write_table(table.set_column(table.schema.get_field_index("question"), "question", bad), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: from rows\[0\] on, a text is not UTF-8"):
        joined([tmp_path / "a.parquet"], tmp_path / "out.json")


def test_damaged_parquet(sample: list[Example], tmp_path: Path) -> None:
    """Cut at any place or with any byte flipped: refused in one line, or, where nothing shows it, read."""
    whole = write_parquet(
        tmp_path / "whole.parquet", map(row, sample[:60]), row_group_size=20, write_page_checksum=True
    ).read_bytes()
    path = tmp_path / "a.parquet"
    told: list[str] = []
    for place in range(4, len(whole), len(whole) // 150):
        for damaged in whole[:place], whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :]:
            path.write_bytes(damaged)
            try:
                joined([path], tmp_path / "out" / "out.json")
            except InputError as error:
                told.append(str(error))
                if list((tmp_path / "out").iterdir()):
                    raise
            else:
                assert len(damaged) == len(whole)
                (tmp_path / "out" / "out.json").unlink()
    assert all(line.startswith("a.parquet: ") and len(line.splitlines()) == 1 for line in told)
    assert len(told) > 230


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "the file is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "looks like a git-lfs pointer")],
)
def test_what_is_no_shard(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=f"^a.parquet: {told}"):
        joined([tmp_path / "a.parquet"], tmp_path / "out.json")


def stage(folder: Path, train: Any, dev: Any) -> subprocess.CompletedProcess[str]:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["datasets"]["sample"] = {"train": train, "dev": dev, "threshold_share": 0.0}
    YAML().dump(params, folder / "params.yaml")
    command = [sys.executable, "-m", "stages.download", "dataset", "sample", "data/squad/sample"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_stage(sample: list[Example], tmp_path: Path) -> None:
    """From params.yaml to train.json and dev.json, and a refusal that leaves the old ones alone."""
    paths = [write_parquet(tmp_path / f"{k}.parquet", p) for k, p in enumerate(parts(list(map(row, sample)), 2))]
    shards = [{"source": p.name, "checksum": checksum(p)} for p in paths]
    dev = {"source": str(ROOT / "data/sample/dev.json"), "checksum": None, "articles": None}
    done = stage(tmp_path, {"shards": shards, "articles": None}, dev)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "data/squad/sample"
    assert read_squad(out / "train.json", purpose="train") == sample
    before = {path.name: checksum(path) for path in out.iterdir()}
    assert set(before) == {"train.json", "dev.json"}
    for twice, code, told in (
        ([*shards, shards[0]], 2, "0.parquet: the id"),
        ([shards[0], shards[1] | {"checksum": "0" * 64}], 3, "1.parquet: expected checksum"),
        ([shards[0] | {"checksum": None}], 2, "datasets.sample.train.shards.0: a shard needs its checksum"),
        ([{"source": f"{HF}../x", "checksum": "0" * 64}], 2, "that of hf:// is null"),
        ([{"source": "hf://datasets/org/x@main/a", "checksum": None}], 2, "is not of the form hf://datasets/NAME@"),
        ([], 2, "datasets.sample.train.shards: List should have at least 1 item"),
    ):
        done = stage(tmp_path, {"shards": twice, "articles": None}, dev)
        assert done.returncode == code, done.stderr
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert {path.name: checksum(path) for path in out.iterdir()} == before
        assert [path.name for path in out.parent.iterdir()] == ["sample"]
    done = stage(tmp_path, {"shards": shards, "articles": 1}, dev)
    assert read_squad(out / "train.json", purpose="train") == [e for e in sample if not e.article]
    done = stage(tmp_path, {"shards": shards, "articles": 0}, dev)
    assert "datasets.sample.train.articles: Input should be greater than 0" in done.stderr


def test_the_record_names_every_shard(tmp_path: Path) -> None:
    for name in "train.json", "dev.json":
        (tmp_path / name).write_text(name)
    sources = [f"{HF}a-*.parquet", "b.json"]
    shards = [{"source": sources[0], "checksum": None}, {"source": sources[1], "checksum": "0" * 64}]
    dev = {"source": "dev.json", "checksum": None, "articles": None}
    dataset = Dataset.model_validate({"train": {"shards": shards, "articles": 3}, "dev": dev, "threshold_share": 0.0})
    train, plain = data_records(tmp_path, dataset)
    assert (train.source, train.articles) == (" + ".join(sources), "first 3")
    assert train.sha256 == checksum(tmp_path / "train.json")
    assert plain.source == "dev.json"


def test_the_benchmark_measures_sound_data(tmp_path: Path) -> None:
    for form in "Parquet shards", "JSON shards":
        (tmp_path / form).mkdir()
        data_memory.write(form, 2, tmp_path / form)
        joined((tmp_path / form).iterdir(), tmp_path / f"{form}.json")
    found = read_squad(tmp_path / "JSON shards.json", purpose="train")
    assert found == read_squad(tmp_path / "Parquet shards.json", purpose="train")
    assert len(found) == 2 * 43 * 7
    assert len({e.paragraph for e in found}) == 86
    assert sum(e.is_impossible or False for e in found) == 2 * 43 * 3


def test_real_squad_in_shards(squad_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(gzip.decompress((squad_dir / "train-15k.json.gz").read_bytes()))
    real = read_squad(path, purpose="train")
    tables = [write_parquet(tmp_path / f"{k}.parquet", p) for k, p in enumerate(parts(list(map(row, real)), 4))]
    assert joined(tables, tmp_path / "a.json") == joined([path], tmp_path / "b.json")
    found = read_squad(tmp_path / "a.json", purpose="train")
    assert {e.id: replace(e, paragraph=0) for e in found} == {e.id: replace(e, paragraph=0) for e in real}
    assert len({e.paragraph for e in real}) - len({e.paragraph for e in found}) == 1  # a context that is there twice

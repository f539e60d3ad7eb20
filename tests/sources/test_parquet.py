"""Parquet files become the same questions as SQuAD's JSON; a fault is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.qa.data.squad import Example, read_squad
from stages.qa.errors import InputError
from stages.qa.sources.fetch import convert
from tests.sources.conftest import as_row, write_parquet

Rows = list[dict[str, Any]]


def test_the_sample_comes_back(sample: list[Example], tmp_path: Path) -> None:
    rows = [as_row(example) for example in sample]
    paths = [write_parquet(tmp_path / f"{k}.parquet", rows[k * 50 : (k + 1) * 50]) for k in range(len(rows) // 50 + 1)]
    convert(paths, tmp_path / "out.json")
    assert read_squad(tmp_path / "out.json", purpose="train") == sample


def few() -> Rows:
    answers = {"text": ["Oaks"], "answer_start": [0]}
    common = {"title": "Trees", "context": "Oaks live long.", "question": "What?", "answers": answers}
    return [{"id": f"q{n}", **common} for n in range(5)]


def test_rows_of_one_title_are_one_article_in_order_of_appearance(tmp_path: Path) -> None:
    rows = few()
    rows[1] |= {"title": "Seas", "context": "Seas are wide.", "answers": {"text": ["Seas"], "answer_start": [0]}}
    rows[2] |= {"context": "Oaks are trees."}
    convert([write_parquet(tmp_path / "a.parquet", rows)], tmp_path / "out.json")
    questions = read_squad(tmp_path / "out.json", purpose="train")
    assert [q.id for q in questions] == ["q0", "q3", "q4", "q2", "q1"]
    assert [q.article for q in questions] == [0, 0, 0, 0, 1]
    assert [q.paragraph for q in questions] == [0, 0, 0, 1, 2]


def test_a_question_without_answers_is_impossible_unless_none_has_any(tmp_path: Path) -> None:
    rows = few()
    for row in rows[1:]:
        row["answers"] = {"text": [], "answer_start": []}
    path = write_parquet(tmp_path / "a.parquet", rows)
    convert([path], tmp_path / "out.json")
    assert [q.is_impossible for q in read_squad(tmp_path / "out.json", purpose="score")] == [False, *[True] * 4]
    pq.write_table(pq.read_table(path).slice(1), path)
    convert([path], tmp_path / "out.json")
    assert {q.is_impossible for q in read_squad(tmp_path / "out.json", purpose="predict")} == {None}
    with pytest.raises(InputError, match="labels are hidden"):
        read_squad(tmp_path / "out.json", purpose="score")


def convert_and_read(path: Path) -> None:
    convert([path], path.with_suffix(".json"))
    read_squad(path.with_suffix(".json"), purpose="train")


def change(number: int, **values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | values if n == number else row for n, row in enumerate(rows)]


def drop(column: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{name: value for name, value in row.items() if name != column} for row in rows]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (drop("title"), r"not a Parquet file .* \('Field \"title\" does not exist in schema'\)"),
        (drop("answers"), 'Field "answers" does not exist in schema'),
        (change(2, id=None), "is null, not a valid string"),
        (change(2, title=""), r"title \(id 'q2'\): is empty"),
        (change(2, title=None), r"title \(id 'q2'\): is empty"),
        (change(4, context=" "), "is blank"),
        (change(4, question=None), r"\(id 'q4'\): is null"),
        (change(4, id="q1"), "ids must be unique"),
        (change(1, answers=None), r"answers \(id 'q1'\): not a list of text beside one of answer_start, as long"),
        (change(1, answers={"text": ["Oaks"], "answer_start": [0, 0]}), r"\(id 'q1'\): not a list of text beside"),
        (change(1, answers={"text": ["Oaks"], "answer_start": [1]}), r"\(id 'q1'\): is 1, where the context has"),
        (change(1, answers={"text": ["Oaks"], "answer_start": [None]}), r"\(id 'q1'\): is null, not a valid integer"),
        (change(1, answers={"text": [None], "answer_start": [0]}), r"\(id 'q1'\): is null, not a valid string"),
        (change(1, answers={"text": ["Oaks"], "answer_start": [0.5]}), "not a Parquet file in the layout of squad_v2"),
        (lambda rows: [row | {"answers": "Oaks"} for row in rows], "not a Parquet file in the layout of squad_v2"),
        (lambda rows: [row | {"title": ["a", "b"]} for row in rows], "not a Parquet file in the layout of squad_v2"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, spoil: Callable[[Rows], Rows], what: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", spoil(few()))
    with pytest.raises(InputError, match=what) as caught:
        convert_and_read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(few())
    bad = pa.Array.from_buffers(pa.string(), 5, pa.array([b"\xff"] * 5, pa.binary()).buffers())
    pq.write_table(table.set_column(table.schema.get_field_index("question"), "question", bad), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="utf-8"):
        convert([tmp_path / "a.parquet"], tmp_path / "out.json")


def test_damaged_parquet(sample: list[Example], tmp_path: Path) -> None:
    """Cut at any place or with any byte flipped: refused in one line, or, where nothing shows it, read."""
    rows = [as_row(example) for example in sample[:60]]
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=20, write_page_checksum=True)
    whole = path.read_bytes()
    messages = []
    for place in range(4, len(whole), len(whole) // 60):
        flipped = bytes([whole[place] ^ 0x15])
        for damaged in whole[:place], whole[:place] + flipped + whole[place + 1 :]:
            path.write_bytes(damaged)
            try:
                convert_and_read(path)
            except InputError as error:
                messages.append(str(error))
    assert all(len(message.splitlines()) == 1 for message in messages)
    assert len(messages) > 90

"""The page's parts without a browser: packed answers, the headline, what is embedded, provenance, bytes."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from stages.qa.data.squad import read_squad
from stages.qa.report import html as templates
from stages.qa.report import page_data
from stages.qa.scoring.question_scores import save_question_scores
from tests.page_example import (
    CONTEXT,
    HOSTILE,
    LAYERS,
    MODELS,
    PROTOCOLS,
    QUESTIONS,
    build,
    scores,
    write_squad,
)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("page"))


class Elements(HTMLParser):
    """Every element, by an independent parser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_texts_of_the_data_make_no_element_and_nothing_is_fetched(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    elements = Elements(text).found
    assert [tag for tag, _ in elements].count("script") == 4
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "embed", "form_")]
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert HOSTILE not in text


def test_the_policy_names_the_scripts_that_run(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(hashes) == 2


def test_same_input_same_bytes(html: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    for name in ("report.html", "report.md", "CARD.md", "layers.csv", "loss.csv"):
        assert (again.parent / name).read_bytes() == (html.parent / name).read_bytes(), name


def test_packed_answers_are_those_of_the_scores(tmp_path: Path) -> None:
    write_squad(tmp_path / "dev.json")
    examples = read_squad(tmp_path / "dev.json", purpose="score")
    given = scores(examples, 2, head=True)
    save_question_scores(tmp_path / "m" / PROTOCOLS[0], given)
    packed = page_data.pack(examples, tmp_path, ["m"], PROTOCOLS[:1])
    header = json.loads(zlib.decompress(base64.b64decode(packed)))
    (answers,) = header["sets"]
    shape = LAYERS + 2, len(QUESTIONS)
    start, length, null, f1, answered, right = (
        np.reshape(answers[name], shape) for name in ("start", "length", "nothing", "f1", "answered", "right")
    )
    assert answers["layers"] == [0, 1, 2, 3, "head"]

    def slice_(at: int, count: int) -> str:
        return CONTEXT[at : at + count]

    shown_rows = [*range(LAYERS + 1), -1]  # without the lens
    for row, place in enumerate(shown_rows):
        for column, example in enumerate(examples):
            text = dict(answers["texts"]).get(row * len(examples) + column)
            shown = slice_(start[row, column], length[row, column]) if text is None else text
            assert shown.casefold() == given.texts[place][column].casefold()
            assert slice_(*header["golds"][column][0]) == example.answers[0].text if example.answers else True
    assert answered.tolist() == given.answered[shown_rows].tolist()
    assert right.tolist() == (given.exact[shown_rows] == 1).tolist()
    assert null.tolist() == np.rint(100 * given.null_probability[shown_rows]).tolist()
    assert f1.tolist() == (100 * given.forced_f1[shown_rows]).tolist()
    assert header["word"] == ["who", "what", "where", "how"]


def chart_data(html: Path) -> dict[str, Any]:
    return json.loads(re.search(r'id="charts-data">(.*?)</script>', html.read_text(encoding="utf-8"), re.DOTALL)[1])


def test_curves_have_every_epoch_once(html: Path) -> None:
    """Of 4 HasAns and 6 NoAns questions, HasAns F1 rises by 15 a layer and epoch, and NoAns F1 falls by 5 from 90."""
    curves = chart_data(html)["curves"]
    rows = [dict(zip(curves["columns"], row, strict=True)) for row in curves["rows"]]
    of_tuned = [row for row in rows if (row["model"], row["protocol"], row["reading"]) == ("tuned", "one", "probe")]
    points = {(row["epoch"], row["layer"]): row["f1"] for row in of_tuned}
    assert len(of_tuned) == len(points) == 2 * (LAYERS + 1)
    assert points[1, 2] == pytest.approx(0.4 * 30 + 0.6 * 80)
    assert points[2, 3] == pytest.approx(0.4 * 90 + 0.6 * 75)


def test_every_chart_has_its_rows(html: Path) -> None:
    data = chart_data(html)
    points = {
        name: [dict(zip(c["columns"], row, strict=True)) for row in c["rows"]] for name, c in data["panels"].items()
    }
    names = {"differences", "quality", "controls", "published", "loss_curves", "by_question_word"}
    assert set(points) == names | {"learning", "description", "strengths", "three_curves", "settling"}
    for name, rows in points.items():
        assert rows or name == "strengths", name
        assert set(data["panels"][name]["lines"]) >= {row["line"] for row in rows}, name
        assert set(data["panels"][name]["panels"]) >= {row["panel"] for row in rows}, name
    of_tuned = [row["low"] for row in points["differences"] if row["panel"] == "tuned less base: HasAns, answer forced"]
    assert of_tuned == [-1.5, -0.5, 0.5, 1.5]
    assert data["panels"]["loss_curves"]["lines"] == list(range(LAYERS + 1))
    rows = data["similarity"]["rows"]
    assert len(rows) == 4 * (LAYERS + 1) ** 2  # three models by themselves and one pair
    assert len({row[0] for row in rows}) == 4


def test_the_short_report(html: Path) -> None:
    text = html.with_name("report.md").read_text(encoding="utf-8")
    assert "Fine-tuning changes F1 with an answer forced by 0.0 points" in text
    for title in ("Results", "Ladder", "Statements", "Beside the published"):
        assert f"\n## {title}" in text, title
    assert all(f"| {model}" in text for model in MODELS)
    gains = r"fine-tuning adds 0\.0 \(.*\) points of forced F1 to the linear probe at its best layer and -5\.0 \(.*\)"
    assert re.search(rf"90 % intervals\. On the sample, {gains} to the probe that sees the question", text)
    assert "tuned, cut at a layer:" in text
    assert "| 33.3 | 12.0 (10.0 to 14.0) |" in " ".join(text.split())
    page = html.read_text(encoding="utf-8")
    assert re.search(gains, page)
    assert "<summary>tuned, cut at a layer</summary>" in page
    assert "\n\n\n" not in text


def test_the_card_is_one_of_the_hub(html: Path) -> None:
    text = html.with_name("CARD.md").read_text(encoding="utf-8")
    card = ModelCard(text).data
    assert HOSTILE not in text
    assert card.task_categories == ["question-answering"]
    assert "weights drawn with seed 3" in text
    assert text.count("0" * 64) == len(MODELS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("back\\|slash", r"back\\\|slash"),
        ("two\nlines\r\nand\u2028more\ttabs", "two lines and more tabs"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("*bold* _it_ `code` ~~gone~~ $x$", r"\*bold\* \_it\_ \`code\` \~\~gone\~\~ \$x\$"),
        ("![i](https://x.y)", r"!\[i\](https\://x.y)"),
        (":smile: layers 1-2: 3", r"\:smile: layers 1-2: 3"),
        ("WWW.x.org", r"WWW\.x.org"),
        ("\u202eright\x00\u200b", "\ufffdright\ufffd\ufffd"),
        ("in 1,861.5 — “naïve” 東京", "in 1,861.5 — “naïve” 東京"),
    ],
)
def test_inert(text: str, expected: str) -> None:
    assert templates.inert(text) == expected


def test_a_markdown_table() -> None:
    table = templates.Table(["model", "at", "F1"], [["a|b", "0", "7.00"], ["longer", "1", "62.00"]], names=2)
    assert templates.markdown(table).splitlines() == [
        "| model  | at |    F1 |",
        "| ------ | -- | ----: |",
        r"| a\|b   | 0  |  7.00 |",
        "| longer | 1  | 62.00 |",
    ]


def test_the_template_of_dvc_has_its_places_and_the_library() -> None:
    text = templates.plots_template()
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert "vegaEmbed" in text
    assert not re.search(r"<script[^>]+src=", text)


def test_the_page_tells_how_many_gold_answers_come_back(html: Path) -> None:
    assert html.read_text(encoding="utf-8").count("7 of 8") == len(MODELS)

"""The page's parts without a browser: packed answers, the headline, what is embedded, provenance, bytes."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.qa.data.squad import read_squad
from stages.qa.errors import IntegrityError
from stages.qa.files import write_json
from stages.qa.report import explorer, page_data
from stages.qa.report import html as html_page
from stages.qa.report.descriptions import describe_model
from stages.qa.report.lineage import Lineage
from stages.qa.report.provenance import pinned_versions
from stages.qa.report.summary import headline
from tests.page_example import (
    CONTEXT,
    HOSTILE,
    LAYERS,
    PROTOCOLS,
    QUESTIONS,
    ROOT,
    build,
    intervals,
    scores,
    write_squad,
)
from tests.report.test_findings import point


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
    assert [tag for tag, _ in elements].count("script") == 6
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
    for name in ("report.html", "CARD.md"):
        assert (again.parent / name).read_bytes() == (html.parent / name).read_bytes(), name


def test_packed_answers_are_those_of_the_scores(tmp_path: Path) -> None:
    write_squad(tmp_path / "dev.json")
    examples = read_squad(tmp_path / "dev.json", purpose="score")
    given = scores(examples, 2, head=True)
    packed = explorer.pack(examples, {("m", PROTOCOLS[0]): given})
    header = json.loads(zlib.decompress(base64.b64decode(packed.texts)))
    cells = zlib.decompress(base64.b64decode(packed.cells))
    readings, questions = LAYERS + 2, len(QUESTIONS)
    number = readings * questions
    assert len(cells) == number * 7
    start, length = np.frombuffer(cells, "<u2", 2 * number).reshape(2, readings, questions)
    null, f1, flags = np.frombuffer(cells, "u1", offset=4 * number).reshape(3, readings, questions)
    assert header["sets"][0]["layers"] == [0, 1, 2, 3, "head"]
    assert packed.left_out == []
    units = CONTEXT.encode("utf-16-le")  # as JavaScript counts

    def slice_(at: int, count: int) -> str:
        return units[2 * at : 2 * (at + count)].decode("utf-16-le")

    for row in range(readings):
        for column, example in enumerate(examples):
            text = dict(header["sets"][0]["texts"]).get(row * questions + column)
            shown = slice_(start[row, column], length[row, column]) if text is None else text
            assert shown.casefold() == given.texts[row][column].casefold()
            assert slice_(*header["golds"][column][0]) == example.answers[0].text if example.answers else True
    assert (flags & 1 > 0).tolist() == given.answered.tolist()
    assert (flags & 2 > 0).tolist() == (given.exact == 1).tolist()
    assert null.tolist() == np.rint(100 * given.null_probability).tolist()
    assert f1.tolist() == (100 * given.forced_f1).tolist()
    assert [header["words"][i] for i in header["word"]] == ["who", "what", "where", "how"]


def test_protocols_beyond_the_limit_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_squad(tmp_path / "dev.json")
    examples = read_squad(tmp_path / "dev.json", purpose="score")
    given = scores(examples, 2, head=False)
    monkeypatch.setattr(explorer, "LIMIT", 1)
    packed = explorer.pack(examples, {("m", name): given for name in PROTOCOLS})
    assert packed.left_out == [PROTOCOLS[1]]


FAMILY = Lineage({"tuned": "fine-tuned", "base": "pretrained"}, {"tuned": "base"}, {"base": "noise"}, {"noise": 0})
SCORES = pd.DataFrame(
    [point("tuned", layer, 10 * layer, 90) for layer in range(4)]
    + [point("base", layer, has, 90) for layer, has in enumerate([1, 5, 3, 2])]
    + [point("noise", layer, 2, 90) for layer in range(4)]
)


def test_headline() -> None:
    said = headline(SCORES, FAMILY, None)  # forced F1 is HasAns F1 and 5
    assert said.answer == (
        "Fine-tuning adds 25.0 points of F1 with an answer forced: tuned peaks at 35.0 at layer 3 of 3, "
        "pretrained base at 10.0 at layer 1, random weights at 7.0."
    )
    assert said.notes == [
        "tuned climbs most between layers 0 and 1: 5.0 to 15.0.",
        "The curve of base spans 4.0 points, from 6.0 to 10.0.",
        'Over all questions: 66.0 against 56.0 of base; always answering "no answer" scores 60.0.',
    ]


def test_headline_with_intervals_without_a_pair_and_the_wrong_way_round() -> None:
    said = headline(SCORES.assign(protocol="one"), FAMILY, intervals())
    assert "tuned peaks at 35.0 (10.0 to 14.0) at layer 3" in said.answer
    alone = headline(SCORES, Lineage({}, {}, {}, {}), None)
    assert alone.answer == "F1 of tuned peaks at 35.0 at layer 3 of 3 with an answer forced."
    worse = headline(SCORES, Lineage({}, {"base": "tuned"}, {}, {}), None)
    assert worse.answer.startswith("Fine-tuning takes 25.0 points of F1 away")
    unforced = headline(SCORES.assign(forced_f1=float("nan")), FAMILY, None)
    assert unforced.metric == "f1"
    assert "forced" not in unforced.answer


def test_rows_of_the_charts() -> None:
    two = pd.concat([SCORES, SCORES.assign(seed=2, f1=SCORES["f1"] + 2)])
    rows = page_data.curve_rows(two)
    first = dict(zip(rows["columns"], rows["rows"][0], strict=True))
    assert (first["f1"], first["f1_min"], first["f1_max"]) == (55, 54, 56)
    assert len(rows["rows"]) == 12
    json.dumps(rows, allow_nan=False)


def test_descriptions_and_pins(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    write_json(tmp_path / "manifest.json", {"files": {}})
    with pytest.raises(IntegrityError, match="not a manifest"):
        describe_model(tmp_path)
    write_json(tmp_path / "manifest.json", {"files": {"a": {"bytes": 1, "sha256": "0"}}, "source": "s"})
    assert describe_model(tmp_path)["model_type"] == "bert"
    versions = pinned_versions(ROOT / "requirements.txt")
    assert re.fullmatch(r"[\d.]+", versions["torch"])


def test_a_script_that_would_end_its_element_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_page, "charts_script", lambda: "x = '</SCRIPT>'")
    with pytest.raises(ValueError, match="end its own element"):
        html_page.page({})


def test_the_template_of_dvc_has_its_places_and_the_library() -> None:
    text = html_page.plots_template()
    assert text.count("{plot_divs}") == text.count("{refresh_tag}") == 1
    assert "vegaEmbed" in text
    assert not re.search(r"<script[^>]+src=", text)

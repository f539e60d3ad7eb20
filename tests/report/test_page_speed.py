"""The page at the size of the CS224N dev split: how long each control keeps its reader waiting (printed by `-s`)."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

import pytest

from tests import page_example
from tests.report.test_page_browser import browser, pytestmark  # noqa: F401

QUESTIONS, PARAGRAPHS, LAYERS = 6078, 380, 12
# From the event to the frame that shows what came of it.
WAIT = """async ([selector, property, value]) => {
  const node = document.querySelector(selector), frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame();
  const start = performance.now();
  if (property === "click") node.click();
  else {
    node[property] = value;
    if (property !== "scrollTop") node.dispatchEvent(new Event("input", { bubbles: true }));
  }
  await frame();
  await new Promise((done) => setTimeout(done));
  return performance.now() - start;
}"""
ACTIONS = {
    "search, a word": ("#filters [name=text]", "value", "harbour"),
    "search, one letter": ("#filters [name=text]", "value", "e"),
    "search, none": ("#filters [name=text]", "value", ""),
    "has answer": ("#filters [name=kind]", "value", "no"),
    "any question": ("#filters [name=kind]", "value", ""),
    "question word": ("#filters [name=word]", "value", "who"),
    "any word": ("#filters [name=word]", "value", ""),
    "layers right": ("#filters [name=right]", "value", "some"),
    "any layers": ("#filters [name=right]", "value", ""),
    "first right at": ("#filters [name=first]", "value", "2"),
    "any first": ("#filters [name=first]", "value", ""),
    "models disagree": ("#filters [name=disagree]", "click", None),
    "or not": ("#filters [name=disagree]", "click", None),
    "model": ("#filters [name=model]", "value", "noise"),
    "protocol": ("#filters [name=protocol]", "value", "two"),
    "scroll the list": ("#list", "scrollTop", 200_000),
    "another question": ("#list .row:last-child", "click", None),
    "another layer": ("#reader .grid tbody tr button", "click", None),
    "score of the curves": ("#choices [name=score]", "value", "exact"),
    "questions of the curves": ("#choices [name=split]", "value", "HasAns_"),
    "a model less": ("#models input", "click", None),
    "theme": ("#theme", "click", None),
}


def write_squad(path: Path) -> None:
    """Paragraphs of 120 random words with 16 questions each, half of them with an answer."""
    random = Random(0)
    words = [f"{a}{b}{c}" for a in ("har", "ste", "mor", "lin") for b in ("bo", "ve", "ra") for c in ("ur", "n", "t")]
    paragraphs: list[dict[str, Any]] = []
    for number in range(QUESTIONS):
        if len(paragraphs) <= number * PARAGRAPHS // QUESTIONS:
            paragraphs.append({"context": " ".join(random.choices(words, k=120)), "qas": []})
        asked = f"{random.choice(('What', 'Who', 'When'))} did the {' '.join(random.choices(words, k=7))}?"
        text = paragraphs[-1]["context"].split(" ")[0]
        answers = [{"text": text, "answer_start": 0}] if number % 2 else []
        question = {"id": f"q{number}", "question": asked, "answers": answers, "is_impossible": not answers}
        paragraphs[-1]["qas"].append(question)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "Words", "paragraphs": paragraphs}]}))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_example, "write_squad", write_squad)
        patch.setattr(page_example, "LAYERS", LAYERS)
        yield page_example.build(tmp_path_factory.mktemp("page"))


def test_every_control_at_that_size(browser: Any, html: Path) -> None:  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    start = perf_counter()
    page.goto(html.as_uri())
    page.wait_for_selector("html[data-ready=all]")
    opened = perf_counter() - start
    waits: dict[str, list[float]] = {}
    assert page.text_content("#found") == "6,078 questions of 6,078"
    for _ in range(2):
        found = set()
        for name, action in ACTIONS.items():
            waits.setdefault(name, []).append(page.evaluate(WAIT, action))
            found.add(page.text_content("#found"))
        assert len(found) > 3, found  # the filters were at work
        page.reload()
        page.wait_for_selector("html[data-ready=all]")
    page.close()
    print(f"\n{html.stat().st_size / 2**20:.1f} MiB, open after {opened:.2f} s")
    for name, times in waits.items():
        print(f"{name:24} {min(times):6.0f} ms, longest {max(times):.0f}")
    assert html.stat().st_size < 4 * 2**20

"""The page in Chromium: every control, no request, no message on the console, texts that stay texts, contrast, keys."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.qa.report.html import plots_template
from tests.page_example import CONTEXT, LAYERS, MODELS, PROTOCOLS, QUESTIONS, ROOT, build

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium found: apt-get install chromium")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Opened:
    """A page that was opened, with all that it asked for and said."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**{"viewport": {"width": 1440, "height": 900}, **settings})
        self.page.set_default_timeout(120_000)  # a busy machine
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=all]")

    def choose(self, form: str, name: str, value: str) -> None:
        self.page.select_option(f"#{form} [name={name}]", value)

    def tick(self) -> None:
        self.page.wait_for_timeout(80)  # charts are drawn in the background

    def found(self) -> str:
        return str(self.page.text_content("#found"))


@pytest.fixture
def opened(browser: Any, html: Path) -> Iterator[Opened]:
    it = Opened(browser, html)
    yield it
    it.tick()
    assert it.said == []
    assert [url for url in it.asked if not url.startswith(("data:", "blob:"))] == [html.as_uri()]
    assert it.page.evaluate("window.struck") is None
    it.page.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (390, 844)])
def test_the_answer_is_on_the_first_screen(browser: Any, html: Path, width: int, height: int) -> None:
    it = Opened(browser, html, viewport={"width": width, "height": height})
    it.page.evaluate("document.querySelector('h1').textContent += ' and as long as that of two families is'.repeat(2)")
    for selector in ("h1", "#curves svg", "#curves-caption", *([".side table"] if width > 1000 else [])):
        box = it.page.locator(selector).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height, selector
    assert "Fine-tuning changes F1 with an answer forced by 0.0 points" in it.page.text_content("h1")
    it.page.close()


@pytest.mark.parametrize("name", ["score", "split", "protocol", "epoch", "range"])
def test_every_choice_redraws_the_curves(opened: Opened, name: str) -> None:
    select = opened.page.locator(f"#choices [name={name}]")
    values = select.locator("option").evaluate_all("all => all.map((option) => option.value)")
    assert len(values) > 1
    if name == "epoch":
        opened.choose("choices", "range", "none")  # intervals are those of the last epoch alone
        opened.tick()
    seen = set()
    for value in values:
        before = opened.page.get_attribute("#curves", "data-drawn")
        select.select_option(value)
        opened.page.wait_for_function(f"document.querySelector('#curves').dataset.drawn != {before}")
        seen.add(opened.page.locator("#curves svg").inner_html())
    same = name == "epoch"  # "last" is one of the others
    assert len(seen) == len(values) - same, "two choices draw the same"


def test_models_can_be_left_out(opened: Opened) -> None:
    lines = opened.page.locator("#curves .mark-line path")
    assert (lines.count(), opened.page.locator("#heat tbody tr").count()) == (3, 3)
    opened.page.locator("#models input").nth(1).uncheck()
    opened.tick()
    assert (lines.count(), opened.page.locator("#heat tbody tr").count()) == (2, 2)
    for box in (0, 2):
        opened.page.locator("#models input").nth(box).uncheck()
    opened.tick()
    assert opened.page.locator("#heat tbody tr").count() == 0
    assert opened.page.text_content("#curves") == "Nothing to show for these choices."
    opened.page.locator("#models input").nth(1).check()
    opened.tick()
    assert lines.count() == 1


def test_numbers_on_hover_and_in_the_heat_map(opened: Opened) -> None:
    opened.choose("choices", "split", "HasAns_")
    opened.tick()
    box = opened.page.locator("#curves .mark-line path").first.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + box["width"], box["y"] + box["height"] / 2)  # the last layer
    opened.page.wait_for_selector("#tip:not([hidden])")
    tip = str(opened.page.text_content("#tip"))
    assert "layer 3" in tip
    assert "90.00" in tip
    cells = opened.page.locator("#heat tbody tr").first.locator("td").all_text_contents()
    assert cells == ["0.0", "30.0", "60.0", "90.0"]


def test_intervals(opened: Opened) -> None:
    areas = opened.page.locator("#curves .mark-area path")
    assert opened.page.input_value("#choices [name=range]") == "interval"
    assert areas.count() == len(MODELS)
    narrow = areas.first.bounding_box()
    opened.choose("choices", "range", "band")
    opened.tick()
    wide = areas.first.bounding_box()
    # the level of params.yaml
    options = opened.page.locator("#choices [name=range] option").all_text_contents()
    assert options[-2:] == ["90 % interval", "90 % band"]
    assert "90 % band of the whole curve" in str(opened.page.text_content("#curves-caption"))
    assert "In brackets: 90 % intervals." in str(opened.page.text_content(".notes"))
    assert narrow is not None
    assert wide is not None
    # 8 to 16 and 10 to 14 of the example's intervals; an axis that grew makes the difference smaller than twofold
    assert wide["height"] > narrow["height"]
    opened.choose("choices", "range", "none")
    opened.tick()
    assert areas.count() == 0
    opened.choose("choices", "epoch", "1")
    opened.choose("choices", "range", "interval")
    opened.tick()
    assert areas.count() == 0
    assert "Intervals are those of the last epoch." in str(opened.page.text_content("#curves-caption"))


def test_every_panel_and_map_is_drawn(opened: Opened) -> None:
    """A panel for each value of `panel`, with a line for each line, an area for each band, a cell for each pair."""
    for name, panels, lines, areas in (
        ("differences", 2, 4, 4),
        ("quality", 4, 12, 0),
        ("controls", 3, 15, 0),
        ("learning", 3, 12, 0),
        ("description", 1, 3, 0),
        ("by_question_word", 3, 6, 0),
        ("published", 6, 6, 0),
        ("loss_curves", 3, 12, 0),
    ):
        chart = opened.page.locator(f"#{name}-chart")
        assert chart.locator(".cell > g").count() == panels, name
        assert chart.locator(".mark-line path").count() == lines, name
        assert chart.locator(".mark-area.role-mark path").count() == areas, name
    assert opened.page.locator("#similarity-chart .mark-rect.role-mark path").count() == 4 * (LAYERS + 1) ** 2


def test_filters_of_the_questions(opened: Opened) -> None:
    assert opened.found() == "4 questions of 4"
    expected = {
        ("kind", "no"): 1,
        ("kind", "has"): 3,
        ("word", "who"): 1,
        ("right", "none"): 0,
        ("right", "3"): 4,  # tuned is right from layer 1 on
        ("right", "some"): 4,
        ("first", "1"): 4,
        ("first", "never"): 0,
    }
    for (name, value), count in expected.items():
        opened.choose("filters", name, value)
        assert opened.found() == f"{count} question{'' if count == 1 else 's'} of 4", (name, value)
        opened.choose("filters", name, "")
    opened.choose("filters", "model", "noise")
    opened.choose("filters", "first", "3")
    assert opened.found() == "4 questions of 4"
    opened.choose("filters", "first", "")
    opened.choose("filters", "protocol", PROTOCOLS[1])
    opened.page.check("#filters [name=disagree]")
    assert opened.found() == "0 questions of 4"
    opened.page.uncheck("#filters [name=disagree]")
    for text, count in {"HYPERLINK": 1, "q2": 1, "fox saw": 4, "no such text": 0}.items():
        opened.page.fill("#filters [name=text]", text)
        assert opened.found().startswith(f"{count} question"), text


def test_one_question_is_shown_as_text_and_marked(opened: Opened) -> None:
    opened.page.locator("#list .row").nth(3).click()
    assert opened.page.text_content("#reader h3") == QUESTIONS[3][0]
    assert opened.page.text_content("#reader .passage") == CONTEXT
    # counted in UTF-16 units: the emoji before the answer does not shift the mark
    assert opened.page.locator("#reader .passage mark.gold").all_text_contents() == [QUESTIONS[3][1]]
    assert "is right from layer 1 on" in opened.page.text_content("#reader")
    opened.page.locator("#reader .answers tbody tr").nth(0).click()
    assert opened.page.locator("#reader .passage mark.pick").all_text_contents() == [CONTEXT[:4]]
    assert "no answer" in opened.page.locator("#reader .answers tbody tr").nth(0).text_content()
    assert opened.page.locator("#reader .answers tbody tr").nth(1).locator("bdi").text_content().endswith(" .")
    opened.page.locator("#reader .grid tbody tr").nth(2).locator("button").nth(2).click()
    assert opened.page.input_value("#filters [name=model]") == "noise"
    assert opened.page.locator("#reader .answers tbody tr").count() == LAYERS + 1
    assert opened.page.locator("#reader script, #reader img, #list script, #list img, main > img").count() == 0


def test_a_link_to_a_question(browser: Any, html: Path) -> None:
    it = Opened(browser, html)
    it.page.goto(f"{html.as_uri()}#question=q1")
    it.page.wait_for_function("document.querySelector('#reader h3').textContent.includes('HYPERLINK')")
    it.page.close()


def test_a_page_without_the_questions(browser: Any, tmp_path: Path) -> None:
    html = build(tmp_path, questions=False)
    it = Opened(browser, html)
    assert it.said == []
    assert it.page.locator("#curves svg").count() == 1
    assert it.page.locator("#questions, #explorer-data, a[href='#questions']").count() == 0
    assert "every answer" not in (html.parent / "report.md").read_text()
    it.page.close()


def test_by_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.name || document.activeElement.id || '')"))
    assert {"theme", "score", "split", "protocol", "epoch", "range", "text", "model", "disagree", "list"} <= reached
    page.focus("#list")
    page.keyboard.press("Home")
    first = page.text_content("#reader h3")
    page.keyboard.press("ArrowDown")
    assert page.text_content("#reader h3") != first
    chosen = page.get_attribute("#list", "aria-activedescendant")
    assert page.get_attribute(f"#{chosen}", "aria-selected") == "true"
    page.locator("#reader .grid button").first.focus()
    page.keyboard.press("Enter")
    assert page.get_attribute("#reader .grid button >> nth=0", "aria-pressed") == "true"
    assert page.evaluate("document.activeElement.dataset.cell") == "tuned/0", "the focus was lost"


def test_theme_saving_and_other_links(opened: Opened) -> None:
    page = opened.page
    colours = []
    for _ in range(3):
        page.click("#theme")
        opened.tick()
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] == colours[2] != colours[1]
    for button in page.locator("[data-save]").all():
        page.wait_for_timeout(300)  # Chromium holds back downloads that follow one another at once
        with page.expect_download() as download:
            button.click()
        assert Path(download.value.path()).read_text().startswith("<svg")
    for link in page.locator("nav a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1
    page.locator("#published summary").first.click()
    assert page.locator("#published details[open] table").is_visible()


CONTRAST = Path(__file__).with_name("contrast.js").read_text().partition("\n")[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, html: Path, scheme: str) -> None:
    """Text 4.5 to 1 and lines 3 to 1, as WCAG 2.2 AA asks."""
    it = Opened(browser, html, color_scheme=scheme)
    it.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    count, poor = it.page.evaluate(CONTRAST)
    assert count > 300
    assert poor == []
    it.page.close()


def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(browser: Any, html: Path) -> None:
    it = Opened(browser, html)
    it.page.set_viewport_size({"width": 390, "height": 844})
    it.page.wait_for_timeout(400)
    assert it.page.evaluate("document.documentElement.scrollWidth") <= 390
    for control in it.page.locator("select, input, button").all():
        name = control.evaluate("(node) => node.ariaLabel || node.textContent || node.labels?.[0]?.textContent || ''")
        assert name.strip()
    assert set(it.page.locator("#models label").all_text_contents()) == set(MODELS)
    assert it.said == []
    it.page.close()


def test_in_print_the_controls_are_gone(opened: Opened) -> None:
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#choices").is_visible()
    assert opened.page.locator("#curves svg").is_visible()
    assert opened.page.locator("#reader .passage").is_visible()
    for selector in (".map", ".grid", ".passage", "p.lead", "tr", ".chart"):
        kept = opened.page.locator(selector).first.evaluate("(node) => getComputedStyle(node).breakInside")
        assert kept == "avoid", f"{selector} may be split over two pages"


def test_a_dark_page_is_printed_on_white(opened: Opened) -> None:
    page, ink = opened.page, "document.querySelector('#curves svg text').getAttribute('fill')"
    light = page.evaluate(ink)
    page.evaluate("document.querySelector('#theme').click(), document.querySelector('#theme').click()")
    opened.tick()
    dark = page.evaluate(ink)
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = {ink}; }})")
    page.pdf()
    opened.tick()
    assert page.evaluate("window.printed") == light != dark
    assert (page.get_attribute("html", "data-theme"), page.evaluate(ink)) == ("dark", dark)
    assert page.locator("details:not([open])").count() == 0


def test_the_plots_of_two_revisions_offline(browser: Any, tmp_path: Path) -> None:
    """As DVC fills the template: curves without a word on the console, pictures beside one another."""
    spec = (ROOT / ".dvc/plots/layer_curve.json").read_text()
    rows = [
        {"model": "a" * 30, "protocol": protocol, "split": split, "layer": layer, "f1": layer, "rev": rev}
        for protocol in PROTOCOLS
        for split in ("all", "HasAns", "NoAns", "forced")
        for layer in range(7)
        for rev in ("workspace", "main")
    ]
    for anchor, value in {"DATA": json.dumps(rows), "X": '"layer"', "Y": '"f1"'}.items():
        spec = spec.replace(f'"<DVC_METRIC_{anchor}>"', value)
    picture = ROOT / "plots/demo/figures/panels.png"
    pictures = f'<div style="display:inline-block; overflow:hidden"><p>rev</p><img src="{picture.as_uri()}"></div>' * 2
    boxes = f'<div><div id="plots_png" style="white-space: nowrap; overflow-y: hidden"><p>it</p>{pictures}</div></div>'
    divs = f'<div id="curves"><script>var spec = {spec}; vegaEmbed("#curves", spec);</script></div>{boxes}'
    page_file = tmp_path / "plots.html"
    page_file.write_text(plots_template().replace("{plot_divs}", divs).replace("{refresh_tag}", ""))
    page, said = browser.new_page(viewport={"width": 1440, "height": 900}), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    chart = page.wait_for_selector("#curves .marks", timeout=9000).bounding_box()
    assert chart["x"] + chart["width"] <= 1440
    left, right = (image.bounding_box() for image in page.locator("img").all())
    assert left["y"] == right["y"]
    assert right["x"] + right["width"] <= 1440
    assert said == []
    page.close()

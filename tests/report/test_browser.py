"""The report in a browser: it opens alone, sorts and filters, and fits a phone, night and paper."""

import shutil
import time

import pytest

from memollm.report.__main__ import main
from tests.report import sweeps

playwright = pytest.importorskip("playwright.sync_api")
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    sweeps.sweep(root, strengths=[0.5], needles=4)
    assert main([str(root)]) == 0
    return root / "report.html"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, report):
    """The page, with what it asked of the network and complained of."""
    contexts = []

    def open_page(**options):
        context = chromium.new_context(**({"viewport": DESK} | options))
        contexts.append(context)
        page = context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def column(page, index):
    cells = page.locator(f"#cells tbody tr:visible > :nth-child({index})")
    return cells.evaluate_all("cells => cells.map(cell => cell.dataset.key)")


def numbers(page, index):
    return [float(it) for it in column(page, index) if it not in ("", "–")]


def test_it_opens_alone_and_without_complaint(opened, report):
    page = opened()
    assert page.asked == [report.as_uri()] and page.complaints == []
    assert page.locator("h1").count() == 1 and page.locator("figure svg").count() > 10


def test_columns_sort_by_click_and_by_keyboard(opened):
    page = opened()
    assert numbers(page, 1) == list(range(1, 8))
    perplexity = page.locator("#cells thead th").nth(3)
    perplexity.locator("button").click()
    assert perplexity.get_attribute("aria-sort") == "ascending"
    assert numbers(page, 4) == sorted(numbers(page, 4)) and len(numbers(page, 4)) == 7
    perplexity.locator("button").focus()
    page.keyboard.press("Enter")
    assert perplexity.get_attribute("aria-sort") == "descending"
    assert numbers(page, 4) == sorted(numbers(page, 4), reverse=True)
    assert page.locator("#cells thead th[aria-sort]").count() == 1


def test_rows_are_filtered_as_one_types(opened):
    page = opened()
    page.get_by_label("Show rows with").fill("sparse 0.3")
    assert len(column(page, 1)) == 1
    assert page.locator("#shown").inner_text() == "1 of 7 rows"
    page.get_by_label("Show rows with").fill("")
    assert len(column(page, 1)) == 7 and page.locator("#shown").inner_text() == ""


def test_the_keyboard_reaches_the_findings_first(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    page.keyboard.press("Enter")
    assert page.url.endswith("#findings")


def test_it_fits_a_phone(opened):
    page = opened(viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator(".box").first.evaluate("it => it.scrollWidth > it.clientWidth")


def test_it_is_dark_at_night(opened):
    page = opened(color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(19, 23, 29)"
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert page.evaluate(ink) == "rgb(230, 234, 240)"


def test_paper_is_white_and_shows_the_whole_table(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.locator("nav").is_hidden() and page.locator("#cells tbody tr").count() == 7
    assert page.pdf()[:4] == b"%PDF"


def test_a_figures_data_can_be_saved(opened, tmp_path):
    page = opened()
    with page.expect_download() as saving:
        page.locator("figure a[download]").first.click()
    saving.value.save_as(tmp_path / "data.csv")
    assert "perplexity" in (tmp_path / "data.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_a_thousand_cells_open_within_three_seconds(chromium, tmp_path):
    sweeps.sweep(
        tmp_path,
        modes=["soft_delete", "sparse_attention", "third", "fourth"],
        thresholds=[0.001 * 1.2**step for step in range(25)],
        strengths=[0.5 * 1.5**step for step in range(10)],
        needles=1,
    )
    assert main([str(tmp_path)]) == 0
    report = tmp_path / "report.html"
    assert report.stat().st_size < 10e6
    page = chromium.new_page(viewport=DESK)
    begun = time.perf_counter()
    page.goto(report.as_uri())
    assert time.perf_counter() - begun < 3
    assert page.locator("#cells tbody tr").count() == 1001

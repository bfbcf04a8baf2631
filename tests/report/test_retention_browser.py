"""The retention page in a browser: it opens, its controls work, and it tells the right numbers."""

import shutil

import pytest

from memollm.report import retention_page
from memollm.traces import file
from tests.report.test_retention_page import HOSTILE
from tests.traces.scripted import scripted

playwright = pytest.importorskip("playwright.sync_api")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS_TO_LOAD = 3.0  # of a trace of 4,000 tokens
BYTES = 10_000_000
FACTOR = 0.02  # half a level of attention; all else is told to three digits


@pytest.fixture(scope="module")
def browser():
    found = next((path for it in BROWSERS if (path := shutil.which(it))), None)
    if found is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a trace's page, and in the end makes sure that nothing was amiss or asked for."""
    amiss, contexts = [], []

    def opened(trace, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda it: amiss.append(it.text))
        page.on("pageerror", lambda it: amiss.append(str(it)))
        page.on("dialog", lambda it: amiss.append(it.message))
        page.on("request", lambda it: it.url.startswith("file:") or amiss.append(it.url))
        page.goto(retention_page.write(trace, tmp_path).as_uri())
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not amiss


def row(page, layer):
    """What is told of the chosen token in one layer."""
    return page.locator("#state tr").nth(layer).locator("td").all_inner_texts()


def test_a_long_trace_opens_fast_and_is_not_large(opened, tmp_path):
    trace = file.fitted(scripted(tokens=4000, steps=80))
    page = opened(trace)
    # Time that the page's own thread computed: on a machine with nothing else to do, all there is.
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.reload()
    page.wait_for_selector("html[data-ready]", timeout=20_000)
    spent = {it["name"]: it["value"] for it in session.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["TaskDuration"] < SECONDS_TO_LOAD
    assert (tmp_path / retention_page.FILE).stat().st_size < BYTES
    assert page.locator("#text span").count() == 4000


def test_hovering_tells_what_the_trace_says(opened, tmp_path):
    trace = file.load(file.save(scripted(tokens=40, steps=5), tmp_path))
    page, retention = opened(trace), trace.retention()
    page.locator("#step").press("ArrowLeft")
    step = 3
    for token in (5, 17, 30):
        page.locator(f"#text span[data-i='{token}']").hover()
        assert page.locator("#position").inner_text() == str(token)
        for layer in range(3):
            name, left, strength, _, attention, when = row(page, layer)
            at = trace.forgotten_at[layer, token]
            gone = 0 < at <= trace.seen[step]
            assert name == str(layer)
            assert when == str(at) if gone else when in ("kept", "protected")
            assert float(strength) == pytest.approx(trace.strength[layer, step, token], rel=0.01)
            assert float(attention) == pytest.approx(trace.received[layer, step, token], rel=0.06)
            if not gone:
                assert float(left) == pytest.approx(retention[layer, step, token], rel=0.01)


def test_the_slider_walks_through_the_steps(opened):
    trace = scripted(tokens=40, steps=5)
    page = opened(trace)
    told = page.locator("#told")
    assert "step 5 of 5 · 40 of 40 tokens read" in told.inner_text()
    page.locator("#step").fill("0")
    assert "step 1 of 5 · 8 of 40 tokens read" in told.inner_text()
    assert page.locator("#text .unread").count() == 32
    page.locator("body").press("ArrowRight")
    assert "step 2 of 5" in told.inner_text()
    gone = sum(0 < at <= trace.seen[1] for at in trace.forgotten_at[0])
    assert page.locator("#text .gone").count() == gone
    page.locator("#play").click()
    page.locator("#told", has_text="step 5 of 5").wait_for()
    assert page.locator("#play").get_attribute("aria-pressed") == "false"


def test_layers_and_tokens_are_chosen_by_mouse_and_by_keyboard(opened):
    page = opened(scripted(tokens=40, steps=5, evidence=[(20, 23)]))
    assert page.locator("#text .needed").count() == 3
    assert page.locator("#text .picked").get_attribute("data-i") == "20"
    page.locator("#layer").select_option("2")
    assert page.locator("#state tr.main td").first.inner_text() == "2"
    page.locator("#layer").select_option("-1")
    style = page.locator("#text span").nth(39).get_attribute("style") or ""
    assert style.count("rgb") >= 3 and "gradient" in style
    box = page.locator("#heat").bounding_box()
    page.locator("#heat").click(position={"x": box["width"] * 10.5 / 40, "y": 5})
    assert page.locator("#text .picked").get_attribute("data-i") == "10"
    page.locator("#text .picked").press("ArrowRight")
    assert page.locator("#text .picked").get_attribute("data-i") == "11"
    page.locator("#number").fill("33")
    page.locator("#number").press("Enter")
    assert page.locator("#position").inner_text() == "33"
    assert "Predicted lifetime" in page.locator("#caption").inner_text()


def test_hostile_text_shows_as_text_on_any_screen(opened):
    trace = scripted(tokens=13, words=HOSTILE, facts={"answer": HOSTILE[0]})
    for width in (390, 1280):
        page = opened(trace, viewport={"width": width, "height": 800}, color_scheme="dark")
        assert page.locator("#text").inner_text().startswith("</script><script>alert(1)</script>")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0


def test_without_retention_it_shows_who_is_kept(opened):
    trace = scripted(tokens=40, steps=5, fades=False)
    page = opened(trace)
    assert page.locator("#no-retention").is_visible()
    assert page.locator("#text .gone").count() == (trace.forgotten_at[0] > 0).sum()
    assert len(row(page, 0)) == 3
    page.locator("#colour").select_option("attention")
    assert "log" in page.locator("#high").inner_text()

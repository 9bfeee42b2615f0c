"""The page in a real browser: it loads, follows the load, and what stands in prompts is never more than text."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from server.live import Live

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'</pre>\u202e"
RULES = "You answer questions about the garden. " * 6

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian has it as the package 'chromium'")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """The page in a tab, and all that its console said."""

    def __init__(self, browser: "Browser", url: str, **options: Any):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.console: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.goto(url)

    def __enter__(self) -> "Page":
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()


def ask(live: Live, prompt: str) -> None:
    with live.client() as client:
        body = {"model": "tiny", "prompt": prompt, "max_tokens": 2, "temperature": 0}
        assert client.post("/v1/completions", json=body).status_code == 200


def test_it_loads_updates_filters_and_explains(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for minute in (30, 31, 32):
        ask(live, f"It is 12:{minute}. {RULES}")
    opened = Opened(browser, f"{live.url}/dashboard")
    with opened as page:
        page.get_by_text("Live", exact=True).wait_for()
        page.locator("#requests tbody tr").nth(2).wait_for()
        ask(live, f"{RULES} A prompt of another kind")
        page.locator("#requests tbody tr").nth(3).wait_for()  # it came by itself
        assert page.locator("#tiles .tile").last.inner_text().startswith("4")
        page.fill("#filter", "volatile")
        page.locator("#requests tbody tr").nth(1).wait_for()
        assert page.locator("#requests tbody tr").count() == 2
        page.locator("#requests tbody button").first.click()
        page.get_by_role("heading", name="volatile value: time").wait_for()
        assert "12:3" in page.locator("#explanation pre").first.inner_text()
        page.fill("#filter", "first seen")
        page.locator("#requests tbody tr button").last.click()
        page.get_by_role("heading", name="first seen").wait_for()
        assert "null" not in page.locator("#explanation").inner_text()
        page.get_by_text("Now, tokens a second:").wait_for()
        assert page.locator("#live .u-over").count() == 1
        assert page.locator("#curve .u-over").count() == 1
        assert "infinite cache" in page.locator("#curve-text").inner_text()
    assert opened.console == []


def test_prefixes_can_be_read_with_the_keyboard(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for number in range(3):
        ask(live, f"{RULES} Question {number} of four")
    opened = Opened(browser, f"{live.url}/dashboard")
    with opened as page:
        cells = page.get_by_role("treeitem")
        cells.first.wait_for()
        page.locator("#icicle g[tabindex='0']").focus()
        page.keyboard.press("Enter")
        assert "You answer questions" in page.locator("#prefix pre").inner_text()
        assert page.locator("#icicle g[aria-selected='true']").count() == 1
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert page.locator("#icicle g[aria-level='2'][aria-selected='true']").count() == 1
        assert "3 requests" in str(cells.first.get_attribute("aria-label"))
    assert opened.console == []


def test_it_says_what_to_do_first(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    with Opened(browser, f"{live.url}/dashboard") as page:
        page.get_by_text("No request has ended yet.").first.wait_for()
        assert page.locator("#advice a").get_attribute("href") == "/"
        for minute in (30, 31, 32):
            ask(live, f"It is 12:{minute}. {RULES}")
        page.get_by_text("Move the time at token").wait_for()
        assert "% of what is computed" in page.locator("#advice").inner_text()
        assert page.locator("#requests .sources").count() == 3
    with Opened(browser, f"{live.url}/dashboard") as page:
        name = page.locator("#requests tbody button").first.get_attribute("data-request")
        page.goto(f"{live.url}/dashboard/#{name}")
        page.reload()
        page.locator("#explanation h3").wait_for()


def test_a_refresh_keeps_the_row_that_is_read(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for number in range(24):
        ask(live, f"{RULES} Number {number}")
    with Opened(browser, f"{live.url}/dashboard") as page:
        page.locator("#requests tbody tr").nth(23).wait_for()
        scroll = page.locator("#requests").locator("..")
        scroll.evaluate("each => { each.scrollTop = 150 }")
        row = page.locator("#requests tbody tr").nth(8)
        button = row.locator("button").get_attribute("data-request")
        top = "each.getBoundingClientRect().top"
        seen = f"each => document.querySelector('[data-request=\"{button}\"]').getBoundingClientRect().top - {top}"
        before = scroll.evaluate(seen)
        ask(live, f"{RULES} One more")
        page.locator("#requests tbody tr").nth(24).wait_for()
        assert abs(scroll.evaluate(seen) - before) < 3
        assert scroll.evaluate("each => each.scrollTop") > 155


def test_near_twins_are_shown_with_their_saving(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for minute in range(10, 20):
        ask(live, f"Be kind to all who ask. It is 12:{minute}:05. {RULES}")
    opened = Opened(browser, f"{live.url}/dashboard")
    with opened as page:
        page.get_by_text("requests differ only at token").wait_for()
        words = page.locator("#twins").inner_text()
        assert "(time); if that were the same in all" in words
        assert "of all prefill would be saved" in words
        page.locator("#icicle g").first.click()
        page.get_by_text("Near-twins that part here").wait_for()
        assert "12:" in page.locator("#prefix li pre").inner_text()
    assert opened.console == []


def test_savings_at_a_price(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for number in range(2):
        ask(live, f"{RULES} {number}")
    with Opened(browser, f"{live.url}/dashboard") as page:
        page.fill("#price", "3.6")
        page.locator("#price").blur()
        page.get_by_text("3.6 USD an hour for this machine").wait_for()
        page.fill("#price", "")
        page.fill("#model", "claude-haiku-4-5")
        page.locator("#model").blur()
        page.locator("#savings").get_by_text("claude-haiku-4-5").wait_for()
        page.fill("#model", "nobody")
        page.locator("#model").blur()
        page.get_by_text("There is no price for the model 'nobody'").wait_for()
        assert "Tokens not computed" in page.locator("#savings").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_finds_no_fault(browser: "Browser", serve: Callable[..., Live], scheme: str) -> None:
    """Names, roles, contrast, order of headings and the like, by axe-core, with all parts of the page filled."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    live = serve()
    for minute in range(10, 22):
        ask(live, f"Be kind to all who ask. It is 12:{minute}:05. {RULES}")
    with Opened(browser, f"{live.url}/dashboard", color_scheme=scheme, bypass_csp=True) as page:
        page.get_by_text("requests differ only at token").wait_for()
        page.locator("#requests tbody button").first.click()
        page.locator("#explanation h3").wait_for()
        page.locator("#icicle g").first.click()
        found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_hostile_text_stays_text(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for number in (1000, 2000):
        ask(live, f"{HOSTILE} {RULES} {number} {HOSTILE}")
        ask(live, f"{number} {HOSTILE} {RULES}")
    opened = Opened(browser, f"{live.url}/dashboard")
    with opened as page:
        page.locator("#icicle g").first.wait_for()
        for cell in page.locator("#icicle g").all():
            cell.dispatch_event("click")
        for button in page.locator("#requests tbody button").all():
            button.click()
            page.locator("#explanation h3").wait_for()
        assert "<script>window.hacked" in page.locator("#explanation").inner_text()
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
    assert opened.console == []


def test_a_phone_in_the_dark(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    for number in range(2):
        ask(live, f"{RULES} {number}")
    opened = Opened(
        browser, f"{live.url}/dashboard", viewport={"width": 360, "height": 740}, color_scheme="dark", is_mobile=True
    )
    with opened as page:
        page.locator("#icicle g").first.wait_for()
        page.locator("#requests tbody button").first.click()
        page.locator("#explanation h3").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert opened.console == []


def test_without_a_key_it_asks_for_one(browser: "Browser", serve: Callable[..., Live]) -> None:
    from server.operator.test_cache_api import keyed

    tenants, keys = keyed("ann", "boss")
    live = serve(tenants=tenants, operators=("boss",))
    with Opened(browser, f"{live.url}/dashboard") as page:
        page.locator("#key-form").wait_for()
        assert "No API key" in page.locator("#key-note").inner_text()
        page.fill("#key", keys["ann"])
        page.keyboard.press("Enter")
        page.get_by_text("--operator ann").first.wait_for()
        assert page.locator("#tiles .tile").count() == 0
        page.fill("#key", keys["boss"])
        page.keyboard.press("Enter")
        page.get_by_text("Live", exact=True).wait_for()
        assert page.locator("#tiles .tile").count() == 5

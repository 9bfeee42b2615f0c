"""The playground in a real browser: an answer streams, its sources stand below it, and what a model says is only text."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from server.live import Live
from server.operator.test_page import CHROMIUM, HOSTILE, RULES, Opened, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian has it as the package 'chromium'")
__all__ = ["browser"]


def say(page: "Page", text: str) -> None:
    """Send a message and wait until what it came to stands below its answer."""
    told = page.locator("#talk .sources").count()
    page.fill("#question", text)
    page.press("#question", "Enter")
    page.locator("#talk .sources").nth(told).wait_for()


def test_an_answer_says_where_its_prompt_came_from(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    opened = Opened(browser, f"{live.url}/")
    with opened as page:
        page.fill("#system", RULES)
        page.fill("#length", "4")
        say(page, "What grows there?")
        say(page, "And in winter?")
        first, second = page.locator("#talk .about").all_inner_texts()[1::2]
        assert first.startswith("0 of ") or "first seen" in first
        assert int(second.split(" of ")[0].strip()) > 20
        assert page.locator("#talk li").count() == 4
        page.locator("#talk .about a").last.click()
        page.wait_for_url("**/dashboard/#chatcmpl-*")
        page.locator("#explanation h3").wait_for()
        assert not opened.console


def test_hostile_text_stays_text(browser: "Browser", serve: Callable[..., Live]) -> None:
    live = serve()
    live.runner.says = list(live.engine.text.tokenizer.encode(HOSTILE).ids)
    opened = Opened(browser, f"{live.url}/")
    with opened as page:
        page.fill("#system", HOSTILE)
        say(page, HOSTILE)
        assert page.evaluate("window.hacked") is None
        assert page.locator("#talk img").count() == 0
        assert not opened.console


def test_a_fault_is_told(browser: "Browser", serve: Callable[..., Live]) -> None:
    with Opened(browser, f"{serve().url}/") as page:
        page.fill("#system", "")
        page.evaluate("document.getElementById('ask').noValidate = true")
        page.fill("#temperature", "-3")
        page.fill("#question", "Hello?")
        page.press("#question", "Enter")
        page.locator("#talk .fault").wait_for()
        assert "temperature" in page.locator("#talk .fault").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_and_a_checker_of_accessibility(browser: "Browser", serve: Callable[..., Live], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with Opened(
        browser, f"{serve().url}/", viewport={"width": 390, "height": 800}, color_scheme=scheme, bypass_csp=True
    ) as page:
        page.fill("#system", RULES)
        page.fill("#length", "4")
        say(page, "What grows there?")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()

"""The screenshots of the documentation, made anew: ``make screenshots`` (Chromium must be there).

A server with the model in the package is asked what an assistant of a small company is asked in a morning; the pages are
looked at in the light and in the dark, on a desk and on a phone. Beside the pictures stands a digest of what the pages are
made of: a test compares it, so a picture cannot outlive the page that it shows.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from foreword.cli.demo import markdown_table

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
DIGESTS = IMAGES / "screenshots.json"
PAGES = ROOT / "src" / "foreword" / "server" / "operator"
SHOWN = {
    "dashboard-light.png": "dashboard",
    "dashboard-dark.png": "dashboard",
    "playground-light.png": "playground",
    "playground-dark.png": "playground",
}
"""The pictures, and the page that each shows."""
RULES = "You answer questions of the staff. Say only what stands in the table, in one sentence. "
ASKED = tuple(
    f"What is {name}'s {field}?"
    for field in ("salary", "department", "location")
    for name in ("Alice Smith", "Bob Johnson", "Carol White", "David Brown")
)


def page_digest(page: str) -> str:
    """Of all files of a page, without what it takes from elsewhere."""
    whole = hashlib.sha256()
    shared = [PAGES / "dashboard" / name for name in ("data.js", "style.css")]
    own = [path for path in (PAGES / page).glob("*") if path.suffix in (".html", ".css", ".js")]
    for path in sorted({*own, *shared}):
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


def ask_for_a_morning(url: str) -> None:
    """Conversations that hit, a prompt with the time in it that does not, and a client of its own."""
    with httpx2.Client(base_url=url, timeout=120) as client:

        def ask(system: str, *turns: str) -> str:
            messages = [{"role": "system", "content": system}]
            for place, text in enumerate(turns):
                messages.append({"role": ("user", "assistant")[place % 2], "content": text})
            body = {"model": "table-reader", "messages": messages, "max_tokens": 16, "temperature": 0}
            answer = client.post("/v1/chat/completions", json=body)
            return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])

        for place, question in enumerate(ASKED):
            first = ask(RULES + markdown_table(), question)
            if place % 4 == 0:
                ask(RULES + markdown_table(), question, first, "And in which city?")
            ask(f"It is 09:{10 + place}. {RULES}{markdown_table()}", question)
            time.sleep(0.4)


def take(browser: "Browser", url: str, name: str) -> None:
    """One picture: light on a desk, dark on a phone."""
    dark, page = "dark" in name, SHOWN[name]
    size = {"width": 390, "height": 844} if dark else {"width": 1200, "height": 900}
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]}, color_scheme="dark" if dark else "light",
        device_scale_factor=1.5 if dark else 1,
    )  # fmt: skip
    tab = context.new_page()
    if page == "dashboard":
        tab.goto(f"{url}/dashboard/")
        tab.get_by_text("Now, tokens a second:").wait_for()
        ask_for_a_morning(url)
        tab.wait_for_timeout(11_000)  # the larger figures come every ten seconds
        tab.locator("#requests tbody button").nth(1).click()
        tab.locator("#explanation h3").wait_for()
    else:
        tab.goto(url)
        for question in ASKED[:2]:
            tab.locator("#system").fill(RULES + markdown_table())
            tab.locator("#question").fill(question)
            tab.locator("#send").click()
            tab.wait_for_timeout(3_000)
    tab.evaluate("window.scrollTo(0, 0)")
    tab.screenshot(path=IMAGES / name, full_page=not dark)
    context.close()


def main() -> None:
    """Start a server, load it, take all pictures, note what they show."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-m", "foreword", "serve", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(httpx2.TransportError):
                if httpx2.get(f"{url}/ready").status_code == 200:
                    break
            time.sleep(0.1)
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name in SHOWN:
                take(browser, url, name)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
    DIGESTS.write_text(json.dumps({name: page_digest(page) for name, page in SHOWN.items()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

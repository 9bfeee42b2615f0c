"""The site: it builds strictly, every page is in the menu, links and pictures are there, nothing comes from elsewhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
UNLISTED = re.compile(r"reference/rules/FW\d+\.md")
"""Pages that stand in a page's table instead of the site's menu."""
LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")
CODE = re.compile(r"```.*?^```|`[^`\n]*`", flags=re.DOTALL | re.MULTILINE)


def menu(entries: list[Any]) -> Iterator[str]:
    """The pages that a menu lists."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from menu(inner) if isinstance(inner, list) else [inner]


def anchors(page: Path) -> set[str]:
    """What a heading of a page may be called in a link."""
    text = re.sub(r"```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_menu() -> None:
    listed = list(menu(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    assert sorted(listed) == [page for page in PAGES if not UNLISTED.fullmatch(page)]


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_is_there(name: str) -> None:
    page = DOCS / name
    for target, anchor in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        at = (page.parent / target).resolve() if target else page
        assert at.is_relative_to(DOCS), f"{name}: {target} is not in the site"
        assert at.is_file(), f"{name}: {target} is not there"
        if anchor and at.suffix == ".md":
            assert anchor[1:] in anchors(at), f"{name}: {target} has no {anchor}"


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_links_of_the_repository_are_right(name: str) -> None:
    page = ROOT / name
    for target, _ in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        assert re.match(r"[a-z]+:", target) or not target or (page.parent / target).exists(), f"{name}: {target}"


def test_it_builds_strictly_and_asks_nobody(tmp_path: Path) -> None:
    for name in ("docs", "zensical.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").rglob("index.html"))
    assert len(pages) == len(PAGES)
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=\"?(https?:[^\"\s>]+)", page.read_text("utf-8")
        )
        assert not loaded, f"{page}: {loaded}"

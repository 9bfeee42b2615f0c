"""Commands and options that the documentation names are there."""

import re
from pathlib import Path
from typing import Any

import pytest

from foreword.cli.command import COMMANDS, load_command

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```\w*[^\n]*\n(.*?)^```|`([^`\n]+)`", flags=re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?<!from )\bforeword ([a-z][a-z-]*)(?![\w.:/-])((?:\\\n|[^\n|;&#])*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
ALONE = re.compile(r"(--[a-z][a-z-]*)(?:[ =].*)?")
OTHERS = {
    "--build-arg": "Docker's",
    "--format": "Podman's",
    "--continue": "Claude Code's",
    "--no-deps": "pip's",
    "--threads": "benchmarks/bit_identity.py's",
}
"""Options that stand alone on a page and are another program's."""


def codes(page: Path) -> list[str]:
    """The blocks and words of code on a page."""
    return [block or word for block, word in CODE.findall(page.read_text("utf-8"))]


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of each command."""
    found = {}
    for name in COMMANDS:
        command: Any = load_command(name)
        inner = getattr(command, "commands", {}).values()
        params = [param for each in (command, *inner) for param in each.params]
        found[name] = {"--help", *(option for param in params for option in param.opts + param.secondary_opts)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_tells_to_type_can_be_typed(page: Path, options: dict[str, set[str]]) -> None:
    wrong = []
    every = set().union(*options.values(), {"--version", "--verbose"}, OTHERS)
    for code in codes(page):
        for name, rest in COMMAND.findall(code):
            if name not in options:
                wrong.append(f"foreword {name}")
            else:
                wrong.extend(f"foreword {name} {option}" for option in OPTION.findall(rest) if option not in options[name])
        alone = ALONE.fullmatch(code)
        if alone is not None and alone[1] not in every:
            wrong.append(code)
    assert not wrong

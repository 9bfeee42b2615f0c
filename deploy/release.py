"""A release's tag, version and changelog say the same; its notes are the changelog's section.

python deploy/release.py check v0.1.0
python deploy/release.py notes v0.1.0
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def version(root: Path) -> str:
    """The package's own version."""
    text = (root / "src" / "foreword" / "__init__.py").read_text("utf-8")
    return re.findall(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)[0]


def notes(root: Path, wanted: str) -> str:
    """The changelog's section of a version; empty if it has none."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    found = re.search(rf"^## {re.escape(wanted)}\b.*?\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


def faults(root: Path, tag: str) -> list[str]:
    """What of a release does not fit its tag, a sentence each; none if all does."""
    ours, wanted = version(root), tag.removeprefix("v")
    found = []
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        found.append(f"The tag {tag!r} is no version: name it like v{ours}.")
    if wanted != ours:
        found.append(f"The tag says {wanted!r}, src/foreword/__init__.py says {ours!r}: change one of them.")
    if not notes(root, wanted):
        found.append(f"CHANGELOG.md has no section '## {wanted}' with something in it: write what has changed.")
    return found


def main(arguments: list[str]) -> int:
    """Check a tag, or print its notes; 1 if something does not fit, 2 for arguments that are none."""
    if len(arguments) != 2 or arguments[0] not in ("check", "notes"):
        print(__doc__, file=sys.stderr)
        return 2
    told = faults(ROOT, arguments[1])
    for line in told:
        print(line, file=sys.stderr)
    if not told and arguments[0] == "notes":
        print(notes(ROOT, arguments[1].removeprefix("v")))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

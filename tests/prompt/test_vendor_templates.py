"""The script that audits the templates in packages: what it reads, and what it says of a template that breaks."""

import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from prompt.scripts import ROOT, load_script

TEMPLATES = Path(__file__).parent / "templates"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("vendor_templates")


def test_archives_of_both_kinds_become_rows(script: ModuleType, tmp_path: Path) -> None:
    sdist, wheel = tmp_path / "one-1.0.tar.gz", tmp_path / "two-1.0-py3-none-any.whl"
    with tarfile.open(sdist, "w:gz") as packed:
        packed.add(TEMPLATES / "qwen3.jinja", "one-1.0/models/qwen3.jinja")
        packed.add(TEMPLATES / "chatml.jinja", "one-1.0/models/chatml.jinja")
        packed.add(ROOT / "README.md", "one-1.0/README.md")
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.write(TEMPLATES / "llama3.jinja", "two/llama3.jinja")
        packed.writestr("two/kernel.py.jinja", "for a program: {{ name }}")
        packed.writestr("two/broken.jinja", "{% if")
    page = script.report([sdist, wheel])
    rows = [line for line in page.splitlines() if line.startswith("| ") and "first break" not in line]
    assert [row.split(" | ")[0] for row in rows] == ["| chatml", "| qwen3", "| llama3"]
    assert rows[0].endswith("|  |")
    assert "thinking and tools: request 3, token 209, message 3 (assistant), block 2 |" in rows[1]
    assert "the next day: request 2, token" in rows[2]
    assert "3 templates: 1 append-only in every conversation they take, 0 but for less than a tenth, 2 not; 1 write" in page
    assert "vendor_templates.py one-1.0.tar.gz two-1.0-py3-none-any.whl`" in page


def test_the_page_in_the_docs_has_a_row_for_each_template_it_counts() -> None:
    page = (ROOT / "docs" / "reference" / "vendor-templates.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "first break" not in line]
    counted = next(line for line in page.splitlines() if " templates: " in line)
    assert len(rows) == int(counted.split()[0]) >= 50
    broken = [row for row in rows if row.split(" | ")[-1].strip(" |")]
    assert len(rows) - len(broken) == int(counted.split(": ")[1].split()[0])

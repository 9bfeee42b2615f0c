"""A release whose tag, version and changelog differ is told so; the notes are the changelog's section."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import foreword

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "deploy" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "foreword"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0\n\nNew things.\n\n## 1.1.0\n\nOld ones.\n\n## 1.0.0\n")
    return tmp_path


def test_what_fits_is_released_with_its_notes(release: ModuleType, project: Path) -> None:
    assert release.faults(project, "v1.2.0") == []
    assert release.notes(project, "1.2.0") == "New things."


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("v1.3.0", "'1.2.0'"),
        ("v1.1.0", "change one"),
        ("1.2.0", "is no version"),
        ("v1.0.0", "no section"),
        ("v1.2", "is no"),
    ],
)
def test_what_does_not_fit_is_told(release: ModuleType, project: Path, tag: str, words: str) -> None:
    assert any(words in fault for fault in release.faults(project, tag))


def test_the_next_release_of_this_tree_can_be_made(release: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.faults(ROOT, f"v{foreword.__version__}") == []
    assert release.main(["notes", f"v{foreword.__version__}"]) == 0
    assert "prefix cache" in capsys.readouterr().out
    assert release.main(["release"]) == 2

"""The laws of the house that a program can check; see CONTRIBUTING.md."""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import laws
from conftest import LONGEST, SLOW
from laws import Source

ROOT = Path(__file__).parents[1]
CONTRACTS = frozenset({"PrefixCache", "Scheduler", "Router", "LLM", "AsyncLLM"})
"""Classes that are a contract without being a protocol."""
PARTS = frozenset(
    {"TiledAttention", "ReferenceAttention", "KVMemory", "DecoderStack", "PrefixCache", "ModelRunner", "Engine"}
)
"""Classes that stand behind a protocol, or could: nobody asks whether something is one of them."""
METHODS, FUNCTION_LINES, FILE_LINES = 10, 60, 500

ALLOWED: dict[str, tuple[int, str]] = {
    "benchmarks/engine.py": (1, "times the engine's parts from outside, each for one run"),
    "tests/backends/cpu/test_decoder_stack.py": (1, "whether the layers were replaced is what is tested"),
    "tests/cache/test_integrity.py": (3, "breaks a cache on purpose, which has no door for that"),
    "tests/server/anthropic/test_messages.py": (1, "the name is public in Anthropic's SDK, whose object it is"),
}
"""Files in which tests read or replace what is not theirs: how often, and why. It only gets shorter."""


def sources(*folders: str) -> list[Source]:
    """All Python files of some folders."""
    return [Source.read(path, ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.fixture(scope="module")
def package() -> list[Source]:
    """What is installed."""
    return sources("src")


@pytest.fixture(scope="module")
def everything(package: list[Source]) -> list[Source]:
    """All Python files."""
    return package + sources("tests", "benchmarks", "examples", "training")


def listed(found: Iterable[str]) -> str:
    """What is broken, a line each; empty if nothing is."""
    return "\n".join(found)


def test_files_are_short(everything: list[Source]) -> None:
    assert not listed(line for source in everything for line in laws.long_files(source, FILE_LINES))


def test_functions_are_short(everything: list[Source]) -> None:
    assert not listed(line for source in everything for line in laws.long_functions(source, FUNCTION_LINES))


def test_interfaces_are_narrow(package: list[Source]) -> None:
    assert not listed(line for source in package for line in laws.wide_interfaces(source, METHODS, CONTRACTS))


def test_what_is_public_is_documented(package: list[Source]) -> None:
    classes = {node.name: node for source in package for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}
    assert not listed(line for source in package for line in laws.undocumented(source, classes))


def test_every_option_has_a_line_of_documentation(package: list[Source]) -> None:
    assert not listed(line for source in package for line in laws.undocumented_fields(source))


def test_nobody_reads_what_is_private_in_another_module(package: list[Source]) -> None:
    outside = [line for source in package for line in laws.private_reads(source)]
    assert not listed(outside)


def test_nobody_asks_what_kind_of_part_it_has(package: list[Source]) -> None:
    found = [line for source in package for line in laws.isinstance_of_parts(source, PARTS)]
    assert not listed(found)


def test_tests_stand_at_the_seams(everything: list[Source]) -> None:
    """They neither replace a part of Foreword nor read its private names, but where ALLOWED says so."""
    read = [source for source in everything if source.path.startswith(("tests/", "benchmarks/"))]
    found = [line for source in read for line in _beyond_the_seams(source)]
    counts = Counter(line.split(":")[0] for line in found)
    more = {file for file, count in counts.items() if count > ALLOWED.get(file, (0, ""))[0]}
    assert not listed(line for line in found if line.split(":")[0] in more)
    assert {file: counts[file] for file in ALLOWED} == {file: count for file, (count, _) in ALLOWED.items()}, "shorten it"


def test_what_is_called_slow_is_there() -> None:
    for file, _, name in (entry.partition("::") for entry in SLOW):
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {name}" in text, f"{file}::{name}: mend SLOW in tests/conftest.py"


def test_what_is_called_long_is_there() -> None:
    assert [file for file in LONGEST if not (ROOT / "tests" / file).is_file()] == []


def _beyond_the_seams(source: Source) -> Iterator[str]:
    yield from laws.private_reads(source)
    yield from laws.patches_of_our_own(source)
    yield from laws.isinstance_of_parts(source, PARTS)


BROKEN = """
from typing import Protocol
import os
from foreword.cache import PrefixCache
from foreword.engine.sampler import _adjust
class WideConfig(Protocol):
    def one(self): ...
    def two(self): ...
@dataclass(frozen=True)
class NarrowConfig:
    field: int = 1
    other: int = 2
    '''Documented.'''
def test(monkeypatch, cache):
    cache._tree
    cache._replace(a=1)
    monkeypatch.setattr(PrefixCache, "match", None)
    monkeypatch.setattr(cache, "match", None)
    monkeypatch.setattr("foreword.cache.X", None)
    monkeypatch.setattr(os, "environ", {})
    isinstance(cache, PrefixCache)
"""


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (lambda s: laws.long_files(s, 20), ["broken.py: 21 lines"]),
        (lambda s: laws.long_functions(s, 7), ["test: 8 lines"]),
        (lambda s: laws.wide_interfaces(s, 1, frozenset()), ["WideConfig: 2 methods (one, two)"]),
        (
            lambda s: laws.undocumented(s, {}),
            ["the module", "WideConfig", "WideConfig.one", "WideConfig.two", "NarrowConfig", "test"],
        ),
        (laws.undocumented_fields, ["NarrowConfig.field"]),
        (laws.private_reads, ["foreword.engine.sampler._adjust", "cache._tree"]),
        (laws.patches_of_our_own, ["(PrefixCache, 'match', None)", "(cache, 'match', None)", "('foreword.cache.X', None)"]),
        (lambda s: laws.isinstance_of_parts(s, PARTS), ["isinstance(cache, PrefixCache)"]),
    ],
)
def test_a_law_that_is_broken_is_told(law: Callable[[Source], Iterator[str]], broken: list[str]) -> None:
    found = list(law(Source("broken.py", BROKEN, ast.parse(BROKEN))))
    assert len(found) == len(broken), found
    assert [end for end in broken if not any(line.endswith(end) for line in found)] == []

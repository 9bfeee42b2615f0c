"""The commands as a person runs them: in a process of their own, on the model in the package."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from foreword.cli.main import run; run()"]
TABLE = "| ID | Name | Salary |\n|----|------|--------|\n| 1 | Alice Smith | 85000 |\n| 2 | Bob Johnson | 65000 |\n"


def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    return subprocess.run([*COMMAND, *args], input=stdin, capture_output=True, text=True, check=False, timeout=240, env=env)


def test_help_teaches() -> None:
    out = run("--help").stdout
    for command in ("demo", "generate", "chat", "bench"):
        assert command in out
    assert "Start with" in out
    assert "computed once" in run("generate", "--help").stdout


def test_version() -> None:
    assert run("--version").stdout.strip() == "0.1.0"


def test_the_demo_answers_saves_and_gives_the_same_tokens() -> None:
    out = run("demo").stdout
    assert "Right answers: 25 of 25" in out
    assert "Both passes gave the same token ids: yes" in out
    saved = re.search(r"(\d+)% saved", out)
    assert saved is not None
    assert int(saved.group(1)) >= 80


def test_generate_shares_the_prefix_file(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    table.write_text(TABLE)
    question = "Question: What is {0}'s salary? Your answer: {0}'s salary is "
    result = run(
        "generate",
        "--prefix-file",
        str(table),
        "--verify-cache",
        "1",
        question.format("Alice Smith"),
        question.format("Bob Johnson"),
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split("\n")) == 3
    accounts = re.findall(r"(\d+) prompt tokens = (\d+) cached \+ (\d+) shared in flight \+ (\d+) computed", result.stderr)
    assert len(accounts) == 2
    assert all(int(a) == int(b) + int(c) + int(d) for a, b, c, d in accounts)
    assert sum(int(cached) + int(shared) > 20 for _, cached, shared, _ in accounts) == 1  # whichever came second
    assert "Verified 1 hits" in result.stderr
    assert " 0 of " in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate", "--model", "/no/such/model", "x"], "/no/such/model"),
        (["generate", "--attention", "fast", "x"], "known backends"),
        (["generate", "--no-prefix-caching", "--verify-cache", "0.5", "x"], "enable_prefix_caching"),
        (["generate", ""], "empty"),
    ],
)
def test_bad_input_is_one_line_and_status_2(args: list[str], message: str) -> None:
    result = run(*args)
    assert result.returncode == 2
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_bench_prints_three_cases() -> None:
    out = run("bench", "--prefix", "64", "--questions", "3", "--max-tokens", "2").stdout
    assert "cache on, later ones" in out
    assert "times sooner" in out


def test_chat_reuses_the_conversation() -> None:
    """In a pseudo-terminal, as a person does it."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "chat", "--system", TABLE, "--max-tokens", "12"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
    )
    os.close(follower)
    os.write(leader, b"What is Alice Smith's salary?\nWhat is Bob Johnson's salary?\n\n")
    out, _ = process.communicate(timeout=240)
    os.close(leader)
    reused = [int(number) for number in re.findall(r"(\d+) of \d+ prompt tokens reused", out)]
    assert len(reused) == 2
    assert reused[1] > reused[0]


def test_the_example_in_the_readme_is_the_file_and_runs() -> None:
    example = ROOT / "examples" / "one_table.py"
    readme = (ROOT / "README.md").read_text()
    body = example.read_text().split('"""\n\n', 1)[1]
    assert body in readme
    result = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.strip().split("\n")
    assert first.startswith("'85000': 0 tokens cached")
    assert second.startswith("'70000'")
    assert int(re.search(r"(\d+) tokens cached", second)[1]) > 150  # type: ignore[index]

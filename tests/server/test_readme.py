"""Every block of code in the README and the first how-to pages: run in a process, or listed with the reason why not."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.live import Live

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/how-to/install.md", "docs/how-to/python.md", "docs/how-to/serve.md")
TEXT = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)
ADDRESS = "http://127.0.0.1:8000"
NOT_RUN = {
    "make demo": "makes a virtual environment, minutes of downloads",
    "make test": "runs this test",
    "foreword serve": "serves until it is stopped; the tutorial's test does it",
    "foreword api-key": "the same",
    "foreword bench": "measures for minutes, with a model that only a reader has",
    "pip install": "changes what is installed; what a wheel holds is tested in test_packaging.py",
    "docker build": "needs an engine for containers, and minutes",
    "pip wheel": "made in test_packaging.py",
}
"""What a block begins with, and why it is not run."""
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
RUN = [(language, text) for language, text in BLOCKS if not text.startswith(tuple(NOT_RUN))]
SAYS = {
    "from foreword import LLM, SamplingParams\n\nTABLE": "85000",
    "from foreword import LLM, SamplingParams\n\nllm": "Oslo",
    "printf": "Rome",
    "curl": "65000",
    "from openai": "65000",
    "from anthropic": "65000",
}
"""What a block begins with, and what is among the words that it prints."""


def test_no_block_escapes() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert TEXT.count("```") == 2 * len(BLOCKS)
    assert not re.search(r"\n\n(?: {4}|\t)\S", TEXT), "a block without a fence"
    for listed in NOT_RUN:
        assert any(text.startswith(listed) for _, text in BLOCKS), f"{listed} is in the list and on no page"
    for _, text in RUN:
        assert text.startswith(tuple(SAYS))
    assert len(RUN) == len(SAYS)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a shell in which foreword is installed."""
    command = tmp_path / "bin" / "foreword"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom foreword.cli.main import run\nrun()\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    source = str(ROOT / "src")
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": source}


@pytest.mark.parametrize("number", range(len(RUN)), ids=[text.split("(")[0].split("\n")[0][:24] for _, text in RUN])
def test_a_block_does_what_it_says(table_reader: Live, tmp_path: Path, environment: dict[str, str], number: int) -> None:
    """Only the port is another one: that of a server which is there."""
    language, text = RUN[number]
    text = text.replace(ADDRESS, table_reader.url)
    command = [sys.executable, "-c", text] if language == "python" else ["sh", "-e", "-c", text]
    table_reader.engine.reset_prefix_cache()
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    (said,) = [words for begin, words in SAYS.items() if text.startswith(begin)]
    assert said in outputs[0]
    if text.startswith(("from openai", "from anthropic")):
        assert outputs[0].split()[-1] == "0", "a miss is 0, not absent"
        assert int(outputs[1].split()[-1]) > 20

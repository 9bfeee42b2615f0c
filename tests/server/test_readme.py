"""What the README says about serving, as it stands there, against a live server."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.live import Live

SERVE = (Path(__file__).parents[2] / "README.md").read_text().partition("\n## Serve\n")[2].partition("\n## ")[0]
TABLE = "| Name | Salary |\n|---|---|\n| Alice Smith | 85000 |\n| Bob Johnson | 65000 |\n"
QUESTION = {"role": "user", "content": "What is the salary of Bob Johnson?"}


def snippets(language: str, live: Live) -> list[str]:
    """The snippets of a language, which speak to a server on port 8000, with the address of this one."""
    found = re.findall(rf"```{language}\n(.*?)```", SERVE, flags=re.DOTALL)
    assert all("http://127.0.0.1:8000" in snippet for snippet in found)
    return [snippet.replace("http://127.0.0.1:8000", live.url) for snippet in found]


def test_curl(table_reader: Live) -> None:
    (command,) = snippets("sh", table_reader)
    answer = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=240).stdout)
    assert "65000" in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("sdk", "variables"),
    [
        ("openai", {"messages": [{"role": "system", "content": TABLE}, QUESTION]}),
        ("anthropic", {"table": TABLE, "messages": [QUESTION]}),
    ],
)
def test_sdks(table_reader: Live, capsys: pytest.CaptureFixture[str], sdk: str, variables: dict[str, Any]) -> None:
    (snippet,) = [text for text in snippets("python", table_reader) if f"from {sdk} import" in text]
    table_reader.engine.reset_prefix_cache()
    for _ in range(2):
        exec(compile(snippet, "README.md", "exec"), dict(variables))
    first, second = capsys.readouterr().out.splitlines()
    assert "65000" in first
    assert first.split()[-1] == "0", "a miss is 0, not absent"
    assert int(second.split()[-1]) > 20

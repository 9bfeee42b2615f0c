"""The example of answers that have a form, with the package's own model."""

import json
import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/answer_with_a_form.py"


def test_the_example_prints_an_answer_of_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert re.fullmatch(r"(yes|no) \(stop\)", told["choice"])
    assert re.fullmatch(r"[A-Z][a-z]{2,8} \(stop\)", told["regex"])
    assert re.fullmatch(r"age [1-9][0-9]? \(stop\)", told["grammar"])
    text, _, reason = told["json"].rpartition(" ")
    assert reason == "(length)" or json.loads(text)["age"] in range(121)

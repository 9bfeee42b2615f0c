"""The page about answers names every form there is."""

from pathlib import Path

from foreword.serving.reasoning import FORMS as REASONING_FORMS
from foreword.serving.tool_forms.choice import FORMS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "answers.md").read_text()


def test_every_form_is_on_the_page() -> None:
    rows = {line.split("|")[1].strip(" `") for line in PAGE.splitlines() if line.startswith("| `")}
    assert rows >= {form.name for form in FORMS} | {form.name for form in REASONING_FORMS}

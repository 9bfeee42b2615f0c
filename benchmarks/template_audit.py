"""Which chat templates let conversations reuse their prefixes: a table, in Markdown.

    python benchmarks/template_audit.py [TEMPLATE.jinja | MODEL_DIRECTORY ...] > docs/reference/template-audit.md

Without arguments: the templates in tests/prompt/templates, written in the style of known families. A bare template is
counted with the built-in approximate tokenizer, a model's directory with the model's own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from foreword.cli.model_files import read_template
from foreword.prompt.template import PromptTemplate
from foreword.prompt.template_audit import Check, audit_template
from foreword.prompt.tokenizer import ApproximateTokenizer

TEMPLATES = Path(__file__).parents[1] / "tests" / "prompt" / "templates"
HEAD = """# Chat templates, audited

Made by `python benchmarks/template_audit.py`; a test keeps it so. The templates are small ones in the style of known
families (`tests/prompt/templates`); audit your model's own with `foreword audit-template DIRECTORY`.

A cell says what becomes of a conversation's prefix from one request to the next. `reused`: every request begins with the
whole one before it. `reused*`: so do the prompts, but the model's answers are not written back as it wrote them, so that
they are computed again. A share: so much of the earlier prompts is computed again, in all. `refused`: the template does not
take such conversations; `(no tools)`: it leaves the tools out. Tokens are counted with the built-in approximate tokenizer.

"""


def load(path: Path) -> PromptTemplate:
    """A bare template, or a model's directory."""
    if path.is_dir():
        return read_template(path)
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    return PromptTemplate(path.read_text("utf-8"), ApproximateTokenizer(), tokens)


def cell(check: Check) -> str:
    """One conversation's result."""
    if check.refused is not None:
        return "refused"
    note = " (no tools)" if check.tools_ignored else ""
    if check.break_ is None:
        return ("reused*" if check.answers_kept is False else "reused") + note
    return f"**{check.lost_tokens / check.reusable_tokens:.0%}**{note}"


def report(paths: Sequence[Path]) -> str:
    """The page: a table, and the first break of each conversation that has one."""
    audits = {path.stem: audit_template(load(path)) for path in paths}
    names = [check.scenario for check in next(iter(audits.values()))]
    lines = ["| conversation | " + " | ".join(audits) + " |", "|---" * (len(audits) + 1) + "|"]
    for row, name in enumerate(names):
        lines.append(f"| {name} | " + " | ".join(cell(checks[row]) for checks in audits.values()) + " |")
    lines += ["", "## Where they break first", ""]
    for name, checks in audits.items():
        for check in checks:
            if check.break_ is not None:
                place = check.break_
                lines.append(
                    f"- {name}, {check.scenario}: request {place.request}, token {place.position}, {place.label}; "
                    f"{check.lost_tokens:,} of {check.reusable_tokens:,} tokens computed again. "
                    f"Before `{_code(place.old)}`, now `{_code(place.new)}`."
                )
    return HEAD + "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return text[:40].replace("\n", "\\n").replace("`", "'")


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    sys.stdout.write(report(given or sorted(TEMPLATES.glob("*.jinja"))))

"""The chat templates of real models that packages on PyPI bring along, audited: a table, in Markdown.

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
    python benchmarks/vendor_templates.py llama_cpp_python-0.3.36.tar.gz > docs/reference/vendor-templates.md

Takes any source archives and wheels; every ``*.jinja`` in them that renders a conversation is audited. The templates stay
where they are; tokens are counted with the built-in approximate tokenizer.
"""

import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from foreword.errors import ModelError
from foreword.prompt.template import PromptTemplate
from foreword.prompt.template_audit import Check, audit_template
from foreword.prompt.tokenizer import ApproximateTokenizer

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
SMALL = 0.1
LEFT_OUT = ("chat without system", "blanks around texts")
HEAD = """# Chat templates of real models, audited

Made by `python benchmarks/vendor_templates.py {archives}`. The templates are those that the packages bring along,
unchanged; they may differ from what the models' makers ship today. Tokens are counted with the built-in approximate
tokenizer, with `<s>` and `</s>` for the special tokens. Audit your own model with `foreword audit-template DIRECTORY`.

A cell says what becomes of a conversation's prefix from one request to the next: `reused`, every request begins with the
whole one before it; `reused*`, so do the prompts, but the model's answers are not written back as it wrote them; a share,
so much of the earlier prompts is computed again; `–`, the template refuses such a conversation; `no tools`, it leaves the
tools out. The last column is the first break in the order of the columns: conversation, request, token, and the piece in
which it stands. Shares of a few hundredths are the generation prompt, where it is not what the answer begins with when it
is written back.

{summary}

"""


def templates(archive: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each Jinja file in a source archive or a wheel."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as packed:
            for name in sorted(packed.namelist()):
                if name.endswith(".jinja"):
                    yield PurePosixPath(name).stem, packed.read(name).decode()
        return
    with tarfile.open(archive) as unpacked:
        for member in sorted(unpacked.getmembers(), key=lambda member: member.name):
            file = unpacked.extractfile(member) if member.name.endswith(".jinja") else None
            if file is not None:
                yield PurePosixPath(member.name).stem, file.read().decode()


def audits(archive: Path) -> Iterator[tuple[str, list[Check]]]:
    """Each template with its checks; what renders no conversation at all is left out."""
    for name, source in templates(archive):
        if "messages" not in source:
            continue
        try:
            checks = audit_template(PromptTemplate(source, ApproximateTokenizer(), SPECIAL))
        except ModelError:
            continue
        kept = [check for check in checks if check.scenario not in LEFT_OUT]
        if any(check.refused is None and check.reusable_tokens for check in kept):
            yield name, kept


def cell(check: Check) -> str:
    """One conversation's result, short."""
    if check.refused is not None:
        return "–"
    if check.break_ is not None:
        return f"**{share(check):.0%}**" + (" no tools" if check.tools_ignored else "")
    if check.tools_ignored:
        return "no tools"
    return "reused*" if check.answers_kept is False else "reused"


def share(check: Check) -> float:
    """Of the tokens of earlier prompts, how many are computed again."""
    return check.lost_tokens / max(1, check.reusable_tokens)


def first_break(checks: Sequence[Check]) -> str:
    """Conversation, request, token and piece of the first break; empty without one."""
    for check in checks:
        if check.break_ is not None:
            place = check.break_
            return f"{check.scenario}: request {place.request}, token {place.position:,}, {place.label}"
    return ""


def report(archives: Sequence[Path]) -> str:
    """The page."""
    rows = [(name, archive.name, checks) for archive in archives for name, checks in audits(archive)]
    scenarios = [check.scenario for check in rows[0][2]] if rows else []
    lines = ["| template | " + " | ".join(scenarios) + " | first break |", "|---" * (len(scenarios) + 2) + "|"]
    for name, _, checks in rows:
        lines.append(f"| {name} | " + " | ".join(map(cell, checks)) + f" | {first_break(checks)} |")
    worst = [max(map(share, checks)) for _, _, checks in rows]
    daily = sum(any(check.break_ and check.scenario == "the next day" for check in checks) for _, _, checks in rows)
    summary = (
        f"{len(rows)} templates: {worst.count(0)} append-only in every conversation they take, "
        f"{sum(0 < most < SMALL for most in worst)} but for less than a tenth, {sum(most >= SMALL for most in worst)} not; "
        f"{daily} write the day's date."
    )
    names = " ".join(archive.name for archive in archives)
    return HEAD.format(archives=names, summary=summary) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    sys.stdout.write(report([Path(argument) for argument in sys.argv[1:]]))

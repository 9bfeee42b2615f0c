"""The page of errors."""

import inspect

from foreword import errors
from foreword.cli.reference.tables import sentence, table
from foreword.server.anthropic.errors import error_body as anthropic_body
from foreword.server.anthropic.errors import status_here as anthropic_status
from foreword.server.error_answers import status_of
from foreword.server.openai.errors import error_body as openai_body

HEAD = """\
<!-- Written by `make reference` from foreword/errors.py; a test compares it. Change the docstrings there. -->
# Errors

Every error that Foreword raises on purpose is one of these, in Python as in HTTP. A message names what is wrong, the value,
and the way out. What the caller can mend is an `InputError` (also a `ValueError`), what we could not do a `ServiceError`
(also a `RuntimeError`). `except ForewordError` takes all.

Over HTTP an error has the status and the shape of the API that was asked: `error.type` and `error.code` of OpenAI's,
`error.type` of Anthropic's. A `429`, and Anthropic's `529`, say in `Retry-After` when to come back.

"""


def errors_page() -> str:
    """docs/reference/errors.md: every error with its parent, its meaning and its answers over HTTP."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ForewordError)]
    rows = []
    for kind in sorted(kinds, key=lambda each: [base.__name__ for base in reversed(each.__mro__)]):
        example = _example(kind)
        parent = next(base for base in kind.__mro__[1:] if base is Exception or issubclass(base, errors.ForewordError))
        status, theirs = status_of(example), anthropic_status(example)
        ours = openai_body(example, status, None)["error"]
        code = f", `{ours['code']}`" if ours.get("code") else ""
        anthropic = anthropic_body(example, theirs, None)["error"]["type"]
        rows.append(
            (
                f"`{kind.__name__}`",
                f"`{parent.__name__}`",
                sentence(inspect.getdoc(kind)),
                f"{status} `{ours['type']}`{code}",
                f"{theirs} `{anthropic}`",
            )
        )
    return HEAD + table(("error", "is a", "meaning", "OpenAI's API", "Anthropic's API"), rows)


def _example(kind: type[errors.ForewordError]) -> errors.ForewordError:
    """An error of a kind, with the number one for whatever its message goes with."""
    further = list(inspect.signature(kind).parameters)[1:] if "__init__" in vars(kind) else []
    return kind("", *(1 for _ in further))

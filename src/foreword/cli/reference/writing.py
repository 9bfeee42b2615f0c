"""Which reference pages there are, and how they are written."""

from pathlib import Path

from foreword.cli.reference.errors import errors_page
from foreword.cli.reference.events import events_page
from foreword.cli.reference.http import http_page
from foreword.cli.reference.metrics import metrics_page
from foreword.cli.reference.options import commands_page, configuration_page
from foreword.cli.reference.public import public_page
from foreword.cli.reference.rules import rules_page
from foreword.errors import ParameterError

PAGES = {
    "configuration.md": configuration_page,
    "cli.md": commands_page,
    "http.md": http_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "metrics.md": metrics_page,
    "rules.md": rules_page,
    "public.md": public_page,
}
"""The generated pages by file name."""


def write_pages(arguments: list[str]) -> None:
    """Write the pages into the folder that is named."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise ParameterError(f"{arguments} is not one folder; for instance: python -m foreword.cli.reference docs/reference")
    for name, page in PAGES.items():
        (Path(arguments[0]) / name).write_text(page(), encoding="utf-8")

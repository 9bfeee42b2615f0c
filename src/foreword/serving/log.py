"""One line a request, structured; a prompt's text only where the operator asks for it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

Log = structlog.typing.FilteringBoundLogger


def make_log(stream: TextIO | None = None) -> Log:
    """A logger that writes to a stream (standard error): coloured text to a terminal, else a JSON object a line."""
    stream = stream or sys.stderr
    render: Any = structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer()
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        render,
    ]
    logger: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return logger


class _LogLines(logging.Handler):
    """Gives what a standard logger is told to the log, as a line of it."""

    def emit(self, record: logging.LogRecord) -> None:
        # Standard error is asked for at each line: while a model is loaded, a spinner stands in its place.
        make_log().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


@contextmanager
def engine_told() -> Iterator[None]:
    """As long as the block lasts, the log has what the engine, its stores and its backend say, from INFO on."""
    logger, lines = logging.getLogger("foreword"), _LogLines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)

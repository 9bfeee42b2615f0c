"""The Anthropic dialect as the app takes it."""

from foreword.server.anthropic.errors import describe_fault, error_body, status_here
from foreword.server.anthropic.messages import router
from foreword.server.error_answers import Dialect


def make_dialect() -> Dialect:
    """The endpoints of Anthropic's Messages API, and its errors."""
    return Dialect(("/v1/messages",), router, error_body, describe_fault, status_here)

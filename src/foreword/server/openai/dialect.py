"""The OpenAI dialect as the app takes it."""

from fastapi import APIRouter

from foreword.server.error_answers import Dialect
from foreword.server.openai import chat, completions, models, responses
from foreword.server.openai.errors import describe_fault, error_body


def make_dialect(remembered: int) -> Dialect:
    """The endpoints of OpenAI's API, which remember so many responses to go on from, and its errors.

    It stands for every path that no other dialect claims.
    """
    router = APIRouter()
    for part in (chat.router, completions.router, models.router, responses.make_router(remembered)):
        router.routes.extend(part.routes)
    return Dialect(prefixes=("/",), router=router, error_body=error_body, describe_fault=describe_fault)

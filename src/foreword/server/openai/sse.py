"""OpenAI's event streams: chunks, their end, and errors that come when the status has long been sent."""

from collections.abc import AsyncIterator

from foreword.server.error_answers import status_of
from foreword.server.event_stream import event
from foreword.server.openai.errors import error_body

DONE = b"data: [DONE]\n\n"


async def errors_as_events(events: AsyncIterator[bytes], request_id: str) -> AsyncIterator[bytes]:
    """The events; an error becomes the last of them."""
    try:
        async for piece in events:
            yield piece
    except Exception as error:
        yield event(error_body(error, status_of(error), request_id))

"""HTTP/1.1 on one connection: uvicorn's, with bounds on heads and patience, and refusals in the vendors' own shapes.

A client may stop sending once its request is whole (a half-closed connection) and gets its answer all the same. One that has
gone looks alike until something is sent to it: so the system is asked where it can tell, else now and then the client, by
what any client passes over.
"""

import socket
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from foreword.errors import ForewordError, InputError, TimedOut, Unavailable
from foreword.server.connections import Connections, Stage
from foreword.server.error_answers import error_response
from foreword.server.gathered import GatheredTransport
from foreword.server.peers import is_open

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's address and headers, trailers behind its body included."""
ASKED_AFTER, ASKED_AGAIN = 0.2, 1.0
"""Seconds after which a client that has stopped sending is asked, and asked again, whether it is still there."""
SYSTEM_ASKED_AFTER = 0.02
"""Seconds in which a client's system has noted that it closed its end."""
STILL_HERE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What may come before any answer of HTTP/1.1."""
STILL_HERE_EVENT = b"3\r\n:\n\n\r\n"
"""A comment, between the events of a stream: the only answers without a length."""


class AnyLength(int):
    """The length of an answer whose length is not said: any body has it."""

    def __lt__(self, other: object) -> bool:
        return False

    def __sub__(self, other: object) -> "AnyLength":
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class BoundedProtocol(HttpToolsProtocol):
    """A connection that waits and remembers within bounds. ``app.state`` has ``dialect_of`` and ``parts``."""

    url = b""
    since = 0.0
    _head = 0  # bytes of the address and the headers that are whole
    _unparsed = 0  # bytes since the parser last told of anything: a header that does not end
    _reading: Stage | None = None  # the part of a request that has begun and not ended
    _ask_at: float | None = None  # when a client that has stopped sending is asked next; None: it has not stopped
    _taken = 0  # bytes that the client had taken when it was last looked at
    _unread_since: float | None = None  # since when it takes nothing of what waits for it; None: it does, or nothing waits

    def __init__(self, connections: Connections, **of_uvicorn: Any):
        super().__init__(**of_uvicorn)
        self._keeper = connections
        self._answers = 0

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self.pipeline:
            return Stage.ANSWER
        if self.cycle is not None and not self.cycle.response_complete:
            return Stage.BODY if self.cycle.more_body else Stage.ANSWER
        if self._reading is not None:
            return self._reading
        return Stage.IDLE if self._answers else Stage.HEAD

    @property
    def closing(self) -> bool:
        """Whether it is to be closed already."""
        return self.transport.is_closing()

    @property
    def peer(self) -> str:
        """The client's address."""
        return self.client[0] if self.client else "unknown"

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        self._out = GatheredTransport(transport, self.loop.call_soon)
        super().connection_made(self._out)
        self.since = self.loop.time()
        self._keeper.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has been closed."""
        self._keeper.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self.transport.is_closing():
            return
        if self._reading is None:
            self._begin(Stage.HEAD)
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self._head = self._unparsed
            self.send_400_response("")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: what it has asked is answered, what it has not asked whole is given up."""
        self._ask_at = self.loop.time() + ASKED_AFTER
        if self._reading is Stage.BODY and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.loop.call_later(SYSTEM_ASKED_AFTER, self._see_whether_gone, self.loop.time())
        return self.stage is Stage.ANSWER

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = self._unparsed = 0
        if self._reading is None:
            self._begin(Stage.HEAD)

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the body a trailer."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._begin(Stage.BODY)
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None:
            self.cycle.chunked_encoding = False  # of which HTTP/1.0 does not know: the connection's end is the answer's
            self.cycle.expected_content_length = AnyLength()

    def on_body(self, body: bytes) -> None:
        """A piece of the body; the gate bounds it."""
        super().on_body(body)
        self._unparsed = 0

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._reading, self.since = None, self.loop.time()

    def on_response_complete(self) -> None:
        """It has been answered."""
        self._answers += 1
        self.since = self.loop.time()
        super().on_response_complete()
        if self._ask_at is not None and self.stage is not Stage.ANSWER:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close; uvicorn calls it with words of its own."""
        del msg
        if self._head > HEAD_BYTES:
            too_long = f"The request's head has more than {HEAD_BYTES} bytes; send fewer or shorter headers."
            self._answer_and_close(431, InputError(too_long))
        else:
            self._answer_and_close(400, InputError("This could not be read as an HTTP/1.1 request."))

    def refuse(self, status: int, why: str) -> None:
        """Close; where a request has begun, say why."""
        if self._reading is None:
            self.transport.close()
        else:
            self._answer_and_close(status, TimedOut(why) if status == 408 else Unavailable(why))

    def turn_away(self, why: str) -> None:
        """Say why, and close: it has just come."""
        self._answer_and_close(503, Unavailable(why))

    def look_after(self, now: float) -> None:
        """Note whether what was sent is read, and whether a client that has stopped sending is still there."""
        before, self._taken = self._taken, self._out.taken
        if not self._out.get_write_buffer_size() or self._taken > before:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > self._keeper.patience.send:
            self.transport.abort()
        self._see_whether_gone(now)

    def _see_whether_gone(self, now: float) -> None:
        """Of a client that has stopped sending: let go of one that is not there any more."""
        if self._ask_at is None or self.transport.is_closing():
            return
        own, peer = self.server, self.client
        there = None if own is None or own[1] is None or peer is None else is_open((own[0], own[1]), peer)
        if there is False or self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        elif there is None and now >= self._ask_at:
            self._ask_at = now + ASKED_AGAIN
            self._ask()

    def _ask(self) -> None:
        """Send what changes no answer; from where nobody is any more an error comes back."""
        cycle = self.cycle
        if self.pipeline or cycle is None or cycle.response_complete:
            return
        if not cycle.response_started and cycle.scope["http_version"] == "1.1":
            self.transport.write(STILL_HERE)
        elif cycle.response_started and cycle.chunked_encoding:
            self.transport.write(STILL_HERE_EVENT)

    def _begin(self, part: Stage) -> None:
        self._reading, self.since = part, self.loop.time()

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._head += size
        if self._head > HEAD_BYTES:
            raise ValueError  # the parser hands it to uvicorn, which calls send_400_response

    def _answer_and_close(self, status: int, error: ForewordError) -> None:
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not answering and not self.pipeline:
            self.transport.write(self._refusal(status, error))
        self.transport.close()

    def _refusal(self, status: int, error: ForewordError) -> bytes:
        state = self.config.loaded_app.state
        state.parts.metrics.refused(status)
        request_id = uuid.uuid4().hex
        answer = error_response(state.dialect_of(self.url.decode("latin-1")), error, request_id, status)
        names = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode()), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in [*answer.raw_headers, *names])
        return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)

"""HTTP/1.1 on one connection: uvicorn's, with a bound on a request's head, and refusals in the vendors' own shapes."""

import uuid

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from foreword.errors import InputError
from foreword.server.http import error_response

HEAD_BYTES = 64 * 1024
"""Most bytes of a request's address and headers, trailers behind its body included."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection that remembers no head without end. ``app.state`` has ``dialect_of`` and ``parts``."""

    url = b""
    _head = 0  # bytes of the address and the headers that are whole
    _unparsed = 0  # bytes since the parser last told of anything: a header that does not end

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self._head = self._unparsed
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = self._unparsed = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the body a trailer."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        """A piece of the body; the gate bounds it."""
        super().on_body(body)
        self._unparsed = 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and close; uvicorn calls it with words of its own."""
        del msg
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not answering and not self.pipeline:
            self.transport.write(self._refusal())
        self.transport.close()

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._head += size
        if self._head > HEAD_BYTES:
            raise ValueError  # the parser hands it to uvicorn, which calls send_400_response

    def _refusal(self) -> bytes:
        status, error = 400, InputError("This could not be read as an HTTP/1.1 request.")
        if self._head > HEAD_BYTES:
            status = 431
            error = InputError(f"The request's head has more than {HEAD_BYTES} bytes; send fewer or shorter headers.")
        state = self.config.loaded_app.state
        state.parts.metrics.refused(status)
        request_id = uuid.uuid4().hex
        answer = error_response(state.dialect_of(self.url.decode("latin-1")), error, request_id, status)
        names = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode()), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % header for header in [*answer.raw_headers, *names])
        return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)

"""What every request passes before it is parsed: who it is, whether there is room, and how large its body may be."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreword.errors import ForewordError, InputError, Overloaded, TimedOut, TooLargeError
from foreword.server.http import Caller, Dialect, error_response, status_of
from foreword.server.parts import ServerParts
from foreword.serving.metrics import Metrics

OPEN_PATHS = ("/health", "/ready", "/metrics", "/docs", "/openapi.json", "/dashboard")
"""Paths, and what is below them, that need no API key here; /metrics looks at it itself, and never waits for room."""


class Gate:
    """ASGI middleware. The body is read here, whole, so that nobody behind it has to bound it."""

    def __init__(self, app: ASGIApp, parts: ServerParts, dialect_of: Callable[[str], Dialect]):
        self._app = app
        self._config = parts.config
        self._tenants = parts.tenants
        self._metrics = parts.metrics
        self._log = parts.log
        self._dialect_of = dialect_of
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        noted = _NotedSend(send, request_id, self._metrics)
        try:
            await self._pass(scope, receive, noted, request_id)
        except Exception as error:
            self._log.error("failure", path=scope["path"], exc_info=error)
            if not noted.started:
                await error_response(self._dialect_of(scope["path"]), error, request_id)(scope, receive, noted)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        path = scope["path"]
        if any(path == known or path.startswith(known + "/") for known in OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        try:
            tenant, key = self._tenants.identify(api_key(Headers(scope=scope)))
            if self._open[key] >= self._config.max_requests_per_key:
                raise Overloaded(
                    f"{self._open[key]} requests of this API key are open, the most that are allowed. Wait for one to end."
                )
        except ForewordError as error:
            await error_response(self._dialect_of(path), error, request_id)(scope, receive, send)
            return
        scope["foreword.caller"] = Caller(tenant, request_id)
        self._open[key] += 1
        try:
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = await self._read_body(scope, receive)
            await self._app(scope, receive, send)
        except _Refused as refused:
            await error_response(self._dialect_of(path), refused.error, request_id, refused.status)(scope, receive, send)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _read_body(self, scope: Scope, receive: Receive) -> Receive:
        """A ``receive`` that gives the whole body at once, and then what comes."""
        limit = self._config.max_body_bytes
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise _Refused(self._too_large(announced))
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._config.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > limit:
                        raise _Refused(self._too_large(f"more than {limit}"))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise _Refused(TimedOut(f"The body did not arrive within {self._config.body_timeout:g} s."), 408) from None
        whole: list[Message] = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        return replay

    def _too_large(self, size: str) -> InputError:
        return TooLargeError(
            f"The body has {size} bytes; this server takes {self._config.max_body_bytes}. Send less at a time."
        )


class _NotedSend:
    """Names the request in its response, and counts the errors."""

    def __init__(self, send: Send, request_id: str, metrics: Metrics):
        self._send, self._request_id, self._metrics = send, request_id, metrics
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = headers["request-id"] = self._request_id  # as OpenAI and as Anthropic name it
            if message["status"] >= 400:
                self._metrics.refused(message["status"])
        await self._send(message)


class _Refused(Exception):
    """A body that is not taken."""

    def __init__(self, error: ForewordError, status: int | None = None):
        self.error = error
        self.status = status or status_of(error)


def api_key(headers: Headers) -> str | None:
    """The key that a request bears: ``Authorization: Bearer KEY`` or ``x-api-key: KEY``."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else headers.get("x-api-key")

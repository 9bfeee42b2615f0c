"""What every request passes before it is parsed: for which host it asks, who it is, its body, and whether there is room."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreword.errors import ForbiddenError, ForewordError, ShareUsed
from foreword.faults import fault_lines
from foreword.server.bodies import Bodies, BodyRefused
from foreword.server.error_answers import Dialect, error_response
from foreword.server.gone import ClientGone, unless_gone
from foreword.server.hosts import Hosts
from foreword.server.http import Caller
from foreword.server.parts import ServerParts
from foreword.serving.metrics import Metrics

OPEN_PATHS = ("/health", "/ready", "/metrics", "/docs", "/openapi.json", "/dashboard", "/playground")
"""Paths, and what is below them, that need no API key here; /metrics looks at it itself, and never waits for room."""


class Gate:
    """ASGI middleware. A request counts against limits from when its body is in, which is read here, whole.

    From then on it is dropped as soon as its client goes away, whatever is being done for it.
    """

    def __init__(self, app: ASGIApp, parts: ServerParts, dialect_of: Callable[[str], Dialect]):
        self._app = app
        self._config = parts.config
        self._tenants = parts.tenants
        self._metrics = parts.metrics
        self._log = parts.log
        self._limited = parts.limited_log
        self._hosts = Hosts(parts.config, bool(parts.tenants.by_hash))
        self._bodies = Bodies(parts.config)
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
        except ClientGone:
            return
        except Exception as error:
            if not isinstance(error, ForewordError):
                self._log.error("failure", path=scope["path"], fault=fault_lines(error))
            if not noted.started:
                await error_response(self._dialect_of(scope["path"]), error, request_id)(scope, receive, noted)
        if noted.status == 401:
            given = api_key(Headers(scope=scope))
            shown = None if given is None else hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            self._limited.warn("unauthorized", _client(scope), path=scope["path"][:200], key_sha256=shown)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        path, headers = scope["path"], Headers(scope=scope)
        try:
            self._hosts.check(headers)
        except ForbiddenError as error:
            self._limited.warn("host refused", _client(scope), path=path[:200], reason=str(error))
            raise
        if path == "/" or any(path == known or path.startswith(known + "/") for known in OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        tenant, key = self._tenants.identify(api_key(headers))
        scope["foreword.caller"] = Caller(tenant, request_id)
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            with self._room(key):
                await self._app(scope, receive, send)
            return
        try:
            whole = await self._bodies.read(scope, receive)
        except BodyRefused as refused:
            await error_response(self._dialect_of(path), refused.error, request_id, refused.status)(scope, receive, send)
            return
        with self._room(key):
            await unless_gone(receive, self._app(scope, whole, send))

    @contextmanager
    def _room(self, key: str) -> Iterator[None]:
        """A place of a key, for a request that is whole; Overloaded where it has none."""
        if self._open[key] >= self._config.max_requests_per_key:
            raise ShareUsed(
                f"{self._open[key]} requests of this API key are open, the most that are allowed. Wait for one to end."
            )
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


class _NotedSend:
    """Names the request in its response, and counts the errors."""

    def __init__(self, send: Send, request_id: str, metrics: Metrics):
        self._send, self._request_id, self._metrics = send, request_id, metrics
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = headers["request-id"] = self._request_id  # as OpenAI and as Anthropic name it
            if message["status"] >= 400:
                self._metrics.refused(message["status"])
        await self._send(message)


def _client(scope: Scope) -> str:
    """The client's address, without its port."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def api_key(headers: Headers) -> str | None:
    """The key that a request bears: ``Authorization: Bearer KEY`` or ``x-api-key: KEY``."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else headers.get("x-api-key")

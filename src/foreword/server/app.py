"""The application: dialects, health, metrics, pages, and what becomes of errors."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from foreword import __version__
from foreword.errors import ForewordError, InputError, NotFoundError
from foreword.server import anthropic, openai, pages
from foreword.server.error_answers import Dialect, error_response, telling_fault
from foreword.server.gate import Gate, api_key
from foreword.server.operator import cache_api, dashboard
from foreword.server.operator.viewer import require_operator
from foreword.server.parts import ServerParts


def create_app(parts: ServerParts) -> FastAPI:
    """An app over parts that run; the app closes them at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(parts.close)

    app = FastAPI(title="Foreword", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.parts = parts
    dialects = [anthropic.make_dialect(), openai.make_dialect(parts.config.remembered_answers)]
    app.state.dialect_of = dialect_of = _chooser(dialects)
    for dialect in dialects:
        app.router.routes.extend(dialect.router.routes)  # flat: nested ones cost each request half a millisecond
    app.include_router(cache_api.make_router())
    dashboard.add_to(app)
    pages.add_to(app)
    _add_own_endpoints(app, parts)
    _add_error_handlers(app, dialect_of)
    app.add_middleware(Gate, parts=parts, dialect_of=dialect_of)
    if parts.config.allow_origins:  # outermost: a browser asks beforehand, without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=parts.config.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "request-id", "retry-after"],
        )
    return app


def _chooser(dialects: Sequence[Dialect]) -> Callable[[str], Dialect]:
    """Which dialect a path speaks: the first that claims it; what is no path, as in ``OPTIONS *``, the last one."""

    def choose(path: str) -> Dialect:
        return next((dialect for dialect in dialects if path.startswith(dialect.prefixes)), dialects[-1])

    return choose


def _add_own_endpoints(app: FastAPI, parts: ServerParts) -> None:
    @app.get("/health", tags=["Operation"], response_model=None)
    async def health() -> Response:
        """Whether the process is of use: 503 when the engine has died, and a restart is all that helps."""
        dead = parts.front.death
        return JSONResponse({"status": "ok" if dead is None else str(dead)}, 200 if dead is None else 503)

    @app.get("/ready", tags=["Operation"], response_model=None)
    async def ready() -> Response:
        """Whether requests are taken: 503 also while the server shuts down, or while a fleet has no replica."""
        reason = parts.service.unavailable
        if reason is None and parts.fleet is not None and all(each.leaving for each in parts.fleet.fleet_state().replicas):
            reason = "No replica is ready."
        return JSONResponse({"status": reason or "ready"}, 503 if reason else 200)

    @app.get("/metrics", tags=["Operation"], response_model=None)
    async def metrics(request: Request) -> Response:
        """Counters in Prometheus' text format, of all tenants: with an operator's key, where the server has keys."""
        tenant, _ = parts.tenants.identify(api_key(request.headers))
        require_operator(tenant, parts)
        return Response(parts.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_error_handlers(app: FastAPI, dialect_of: Callable[[str], Dialect]) -> None:
    def respond(request: Request, error: Exception, status: int | None = None) -> Response:
        who = request.scope.get("foreword.caller")
        return error_response(dialect_of(request.url.path), error, None if who is None else who.request_id, status)

    @app.exception_handler(ForewordError)
    async def _expected(request: Request, error: ForewordError) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        path = request.url.path
        return respond(request, InputError(dialect_of(path).describe_fault(path, telling_fault(error.errors()))))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return respond(request, NotFoundError(f"There is nothing at {request.method} {request.url.path}."))
        if error.status_code == 405:
            return respond(request, InputError(f"{request.url.path} does not take {request.method}."), 405)
        digits = f"with no number of more than {sys.get_int_max_str_digits():,} digits"
        fault = InputError(f"The body could not be read: it must be a JSON object in UTF-8, {digits}.")
        return respond(request, fault, error.status_code)

"""Routes whose bodies are parsed and checked beside the event loop where they are long."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from foreword.server.body_shape import AT_ONCE
from foreword.server.error_answers import telling_fault
from foreword.server.http import parts


class BodyRoute(APIRoute):
    """A route whose body, where it is long, is a model before FastAPI looks at it: that takes it as it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Handle a request whose body is read aside."""
        handle = super().get_route_handler()
        kind = None if self.body_field is None else self.body_field.field_info.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return handle

        async def read_and_handle(request: Request) -> Response:
            reading = _ReadAside(request, kind)
            try:
                return await handle(reading)
            except HTTPException:
                if reading.fault is not None:  # FastAPI takes all that comes from reading for a fault of the JSON
                    raise reading.fault from None
                raise

        return read_and_handle


class _ReadAside(Request):
    """A request whose ``json`` is the model itself where the body is long. ``fault``: why there is none."""

    def __init__(self, request: Request, kind: type[BaseModel]):
        super().__init__(request.scope, request.receive)
        self.fault: Exception | None = None
        self._kind = kind

    async def json(self) -> Any:
        """The body as FastAPI is given it."""
        body = await self.body()
        if len(body) <= AT_ONCE:
            return await super().json()
        thread = parts(self).reading
        given = await thread.run(lambda: json.loads(body))
        try:
            return await thread.run(lambda: checked(self._kind, given))
        except Exception as error:
            self.fault = error
            raise


def checked(kind: type[BaseModel], given: Any) -> BaseModel:
    """A body as FastAPI checks it; RequestValidationError, with the place that lies deepest, for one that is not right."""
    try:
        return kind.model_validate(given, from_attributes=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    told = telling_fault(faults)  # a body may have a hundred thousand
    raise RequestValidationError([{**told, "loc": ("body", *told["loc"])}])

"""/v1/models."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from foreword.server.http import service
from foreword.serving.served_model import ServedModel

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models", response_model=None)
async def list_models(request: Request) -> dict[str, Any]:
    """The names of the model that is served, patterns among them; with the words of Anthropic's list as well."""
    served = service(request).model
    listed = [_model(served, name) for name in served.names]
    return {
        "object": "list",
        "data": listed,
        "has_more": False,
        "first_id": served.names[0],
        "last_id": served.names[-1],
    }


@router.get("/v1/models/{model:path}", response_model=None)
async def get_model(model: str, request: Request) -> dict[str, Any]:
    """A model by one of its names."""
    served = service(request).model
    served.check_name(model)
    return _model(served, model)


def _model(served: ServedModel, name: str) -> dict[str, Any]:
    """A model in the words of OpenAI's list, of vLLM's and of Anthropic's."""
    return {
        "id": name,
        "object": "model",
        "created": served.created,
        "owned_by": "foreword",
        "max_model_len": served.max_model_len,
        "context_length": served.max_model_len,
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(served.created, UTC).isoformat().replace("+00:00", "Z"),
        "max_input_tokens": served.max_model_len,
    }

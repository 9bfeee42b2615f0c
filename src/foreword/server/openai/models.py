"""/v1/models."""

from typing import Any

from fastapi import APIRouter, Request

from foreword.server.http import service
from foreword.serving.service import ServedModel

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models", response_model=None)
async def list_models(request: Request) -> dict[str, Any]:
    """The one model that is served."""
    return {"object": "list", "data": [_model(service(request).model)]}


@router.get("/v1/models/{model:path}", response_model=None)
async def get_model(model: str, request: Request) -> dict[str, Any]:
    """A model by its name."""
    served = service(request).model
    served.check_name(model)
    return _model(served)


def _model(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "foreword",
        "max_model_len": served.max_model_len,
    }

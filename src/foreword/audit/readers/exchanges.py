"""Recorded HTTP exchanges: the body that was posted to a model, and the model that the address names."""

import re
from itertools import pairwise

from foreword.audit.readers.base import Record
from foreword.audit.readers.body import dialect
from foreword.audit.readers.values import mapping, opened, unpacked

METHOD = re.compile(r":(?:stream)?(?:generateContent|rawPredict|RawPredict|GenerateContent)\Z")
"""What Google's addresses have behind the model's name."""


def posted(asked: Record) -> Record | None:
    """The body of a request to a model; None where something else was asked for."""
    body = asked.get("body", asked.get("parsed_body"))
    if isinstance(body, dict) and ("string" in body or "text" in body):
        body = body.get("string", body.get("text"))
    if "postData" in asked:
        body = mapping(asked["postData"]).get("text")
    if isinstance(body, str) and body.lstrip()[:1] not in ("{", "["):
        body = unpacked(body)
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    body = opened(body)
    if not isinstance(body, dict):
        return None
    return body if dialect(body) is not None else None


def model_of(url: str) -> str:
    """The model that an address names (Gemini, Bedrock, Azure): what stands behind models, model or deployments."""
    parts = url.split("?", 1)[0].split("/")
    for before, name in pairwise(parts):
        if before in ("models", "model", "deployments"):
            return METHOD.sub("", name).replace("%3A", ":")
    return ""

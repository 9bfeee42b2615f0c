"""The page of the HTTP API."""

import inspect
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from foreword.cli.reference.tables import sentence, table
from foreword.server import anthropic, openai
from foreword.server.anthropic.errors import BODIES as ANTHROPIC_BODIES
from foreword.server.body import TopBody
from foreword.server.openai.errors import BODIES as OPENAI_BODIES
from foreword.server.operator import cache_api

HEAD = """\
<!-- Written by `make reference` from the schemas and their tables of fields; a test compares it. Change those. -->
# HTTP

`foreword serve` speaks OpenAI's and Anthropic's API, and has addresses of its own for whoever runs it. Every field of a body
is decided once: **honoured**; **taken**, for it cannot change the answer, and named in the log; or **refused** with the way
out, for it would change it and is not done here (unless its value asks for nothing, as null does). A field that nobody knows
is refused by its name.

Errors: [their table](errors.md).
"""
DIALECTS: tuple[tuple[str, APIRouter, dict[str, Any]], ...] = (
    ("OpenAI's API", openai.make_dialect(1).router, OPENAI_BODIES),
    ("Anthropic's API", anthropic.make_dialect().router, ANTHROPIC_BODIES),
    ("Foreword's own", cache_api.make_router(), {}),
)
"""What is spoken, its endpoints, and what their bodies are."""


def http_page() -> str:
    """docs/reference/http.md: every endpoint, and what becomes of every field of its body."""
    parts = [HEAD]
    for title, router, bodies in DIALECTS:
        parts.append(f"\n## {title}\n\n{table(('endpoint', 'what it does'), _endpoints(router))}")
        for path, body in bodies.items():
            parts.append(f"\n### {path}\n\n{_body(body)}")
    return "".join(parts)


def _endpoints(router: APIRouter) -> list[tuple[str, str]]:
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    found = [(" ".join(sorted(route.methods or ())), route) for route in routes]
    return [(f"`{methods} {route.path}`", sentence(inspect.getdoc(route.endpoint))) for methods, route in found]


def _body(body: type[TopBody]) -> str:
    schema = body.model_json_schema()
    required = set(schema.get("required", ()))
    honoured = [
        (f"`{name}`", _kind(schema["properties"][name]), "required" if name in required else "")
        for name in sorted(each.alias or name for name, each in body.model_fields.items())
    ]
    taken = [(f"`{path}`", why) for path, why in sorted(body.table.taken.items())]
    taken += [(f"`{path}`", "only says how another field is meant") for path in sorted(body.table.companions)]
    refused = [(f"`{name}`", way) for name, way in sorted(body.table.refused.items())]
    return (
        f"Honoured:\n\n{table(('field', 'type', ''), honoured)}"
        f"\nTaken:\n\n{table(('field', 'why it changes nothing'), taken)}"
        f"\nRefused:\n\n{table(('field', 'the way out'), refused)}"
    )


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a word or two; null, which every field takes, is left out."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[1]}`"
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return " or ".join(dict.fromkeys(_kind(branch) for branch in branches if branch.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "anything")), *bounds])

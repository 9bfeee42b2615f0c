"""What a reader finds first: the playground at /, or for a program what is here; and the endpoints one by one."""

from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from foreword.server.operator import playground

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "code{font:14px/1.5 ui-monospace,monospace}td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8bf}}"
)
PLACES = {
    "/v1": "OpenAI's API: the base_url of its clients",
    "/v1/messages": "Anthropic's API: the base_url of its clients is this address without a path",
    "/dashboard": "what is cached, and why requests hit or miss",
    "/docs": "all endpoints",
    "/openapi.json": "the same for programs",
    "/metrics": "figures for Prometheus",
    "/health": "whether the process is of use",
    "/ready": "whether requests are taken",
}


def add_to(app: FastAPI) -> None:
    """Serve them."""
    playground.add_to(app)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"name": app.title, "version": app.version, "endpoints": PLACES})
        return playground.page()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        rows = "".join(f"<tr><td>{_link(path)}</td><td>{escape(text)}</td></tr>" for path, text in PLACES.items())
        return _page(app, f"<table>{rows}</table>" + "".join(_operations(app.openapi())))


def _operations(description: dict[str, Any]) -> list[str]:
    """The endpoints of an OpenAPI description, by their first tag."""
    found: dict[str, list[str]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            text = escape(operation.get("description") or operation.get("summary", "")).replace("\n", "<br>")
            row = f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td><td>{text}</td></tr>"
            found.setdefault((operation.get("tags") or ["Other"])[0], []).append(row)
    schema = f"<p>Fields and types: {_link('/openapi.json')}.</p>"
    return [schema, *(f"<h2>{escape(tag)}</h2><table>{''.join(rows)}</table>" for tag, rows in found.items())]


def _link(path: str) -> str:
    return f'<a href="{path}"><code>{path}</code></a>' if path.count("/") == 1 and path != "/v1" else f"<code>{path}</code>"


def _page(app: FastAPI, body: str) -> HTMLResponse:
    title = f"{escape(app.title)} {escape(app.version)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    text = (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>'
    )
    return HTMLResponse(text, headers=HEADERS)

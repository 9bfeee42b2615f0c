"""The page at /dashboard: static files that work offline, and ask /v1/cache with the reader's API key."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent
STYLES = ("vendor/uPlot.min.css", "style.css")
SCRIPTS = (
    "vendor/d3.min.js",
    "vendor/uPlot.iife.min.js",
    "data.js",
    "charts.js",
    "advice.js",
    "prefixes.js",
    "requests.js",
    "main.js",
)
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Files(StaticFiles):
    """A page's own scripts and styles, by name, nothing else of its folder; no other script runs on it."""

    def __init__(self, folder: Path, names: tuple[str, ...]):
        super().__init__(directory=folder)
        self._names = names

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file by its name; 404 for all others."""
        response = await super().get_response(path if path in self._names else "", scope)
        response.headers.update(HEADERS)
        return response


def add_to(app: FastAPI) -> None:
    """Serve the page."""

    @app.get("/dashboard", include_in_schema=False)
    async def page() -> Response:
        return RedirectResponse("/dashboard/")

    @app.get("/dashboard/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    app.mount("/dashboard", Files(FOLDER, (*STYLES, *SCRIPTS)))

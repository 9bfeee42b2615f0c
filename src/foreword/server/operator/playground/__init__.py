"""The page at /: a conversation in a browser that shows, below each answer, where its prompt's tokens came from."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from foreword.server.operator.dashboard import HEADERS, Files

FOLDER = Path(__file__).parent


def page() -> FileResponse:
    """The page, which asks the server's own API with the reader's key."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


def add_to(app: FastAPI) -> None:
    """Serve the page's script and style; the page itself is one of ``server/pages.py``."""
    app.mount("/playground", Files(FOLDER, ("playground.css", "playground.js")))

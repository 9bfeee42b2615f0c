"""A client of a server's /v1/cache: what explain, top and report ask with."""

from types import TracebackType
from typing import Any

import httpx2

from foreword.errors import InputError, NotFoundError, Unavailable


class CacheClient:
    """Asks a server about its cache."""

    def __init__(self, url: str, key: str, cache_salt: str = ""):
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {b"authorization": f"Bearer {key}".encode()} if key else {}
        if cache_salt:
            headers[b"x-cache-salt"] = cache_salt.encode()
        try:
            self._client = httpx2.Client(base_url=f"{self.url}/v1/cache/", headers=headers, timeout=30)
        except httpx2.InvalidURL as error:
            raise InputError(f"--url {url!r} is no address: {error}. Give one like http://127.0.0.1:8000.") from None

    def __enter__(self) -> "CacheClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The answer to GET /v1/cache/``path``. InputError with the server's words, Unavailable where there is no server."""
        try:
            answer = self._client.get(path, params={name: value for name, value in parameters.items() if value is not None})
            body = answer.json()
        except httpx2.UnsupportedProtocol:
            raise InputError(f"--url {self.url!r} is no address. Give one like http://127.0.0.1:8000.") from None
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable(f"No Foreword server answers at {self.url}: {error}. Start one: foreword serve.") from None
        if answer.is_success and isinstance(body, dict):
            return body
        fault = body.get("error") if isinstance(body, dict) else None
        message = str(fault["message"]) if isinstance(fault, dict) and "message" in fault else f"{answer.status_code} {body}"
        raise (NotFoundError if answer.status_code == 404 else InputError)(message)

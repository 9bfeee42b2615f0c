"""Which names a server answers to: a page from elsewhere must not reach one that asks for no key.

A browser lets a page talk to whatever address its own name leads to. Whoever owns the name can have it lead to 127.0.0.1
(DNS rebinding), but the browser still says for which name it asks, in ``Host``; and for which page, in ``Origin``. Such a
name has a dot: names without one are not given to anybody outside a network of one's own.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from foreword.errors import ForbiddenError
from foreword.serving.config import ServerConfig

ANY = "*"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "ip6-localhost", "ip6-loopback")


class Hosts:
    """The names that a server answers to.

    ``allowed_hosts`` of the options, and those of this machine, which nobody else can have; without any these alone, where
    everybody may ask and nobody else is to be reached: without keys, on a loopback address. Else all. Pages of
    ``allow_origins`` may ask whatever their name.
    """

    def __init__(self, config: ServerConfig, keys: bool):
        self._names = frozenset(name.lower().rstrip(".") for name in config.allowed_hosts)
        self._loopback = not self._names and not keys and is_loopback(config.host)
        self._origins = frozenset(config.allow_origins)
        self._any = ANY in self._names or not (self._names or self._loopback)

    def check(self, headers: Headers) -> None:
        """ForbiddenError for a request to another name, or from a page of another name."""
        if self._any:
            return
        for asked in headers.getlist("host"):
            self._check(host_name(asked), "This server does not answer to the host")
        for origin in headers.getlist("origin"):
            if ANY in self._origins or origin in self._origins:
                continue
            if origin == "null" or origin.lower().startswith(("http:", "https:")):  # else an extension, or a program
                self._check(host_name(urlsplit(origin).netloc), "This server answers no page of the host")

    def _check(self, name: str, refusal: str) -> None:
        if name in self._names or is_loopback(name) or (self._loopback and is_plain(name)):
            return
        raise ForbiddenError(f"{refusal} {name[:100]!r}. Its operator can allow it: --allowed-host {name[:100] or 'NAME'}.")


def host_name(authority: str) -> str:
    """The name in ``name:port``, ``[address]:port`` or either without a port."""
    name = authority.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def is_loopback(name: str) -> bool:
    """Whether a name or an address, as a client or an operator writes it, can only be this machine."""
    name = name.lower().strip("[]").rstrip(".")
    if name in LOCAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_plain(name: str) -> bool:
    """Whether it is a name without a dot, and no address."""
    return bool(name) and "." not in name and ":" not in name

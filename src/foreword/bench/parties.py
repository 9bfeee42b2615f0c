"""Who asks in an attacker's experiment: a key, and a salt under it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from foreword.errors import CredentialsError, ServiceError


@dataclass(frozen=True, slots=True)
class Party:
    """An API key (empty: none) and a ``cache_salt`` (None: none)."""

    key: str = ""
    salt: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What it sends with each request."""
        named = {} if self.salt is None else {"x-cache-salt": self.salt}
        return {**named, **({"authorization": f"Bearer {self.key}"} if self.key else {})}


STORED = 0.1
"""Seconds in which a server has given a shared store what was used."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The server that each of the two asks: the same one, or two over one shared store."""

    victims: httpx2.Client
    attackers: httpx2.Client

    def have_victim_ask(self, ask: Callable[[httpx2.Client], httpx2.Response]) -> httpx2.Response:
        """The victim asks at its server; with a server of its own twice, so that the shared store is given it."""
        answer = check(ask(self.victims))
        if self.victims is not self.attackers:
            check(ask(self.victims))
            time.sleep(STORED)
        return answer


def two_parties(victim_key: str, attacker_key: str) -> tuple[Party, Party]:
    """Victim and attacker: two keys; with one, or none, two salts under it."""
    if victim_key and attacker_key and victim_key != attacker_key:
        return Party(victim_key), Party(attacker_key)
    key = victim_key or attacker_key
    return Party(key, "the victim's salt"), Party(key, "the attacker's salt")


def model_name(client: httpx2.Client, party: Party) -> str:
    """The model that a server has. ServiceError where there is no server, CredentialsError for a key it does not know."""
    try:
        answer = client.get("/v1/models", headers=party.headers)
    except httpx2.HTTPError as error:
        raise ServiceError(f"There is no server at {client.base_url}: {error}") from error
    name: str = check(answer).json()["data"][0]["id"]
    return name


def check(answer: httpx2.Response) -> httpx2.Response:
    """An answer that must be one: CredentialsError or ServiceError else."""
    if answer.status_code == 401:
        raise CredentialsError("The server does not know one of the two API keys.")
    if answer.status_code != 200:
        raise ServiceError(f"The server answered {answer.status_code}: {answer.text[:200]}")
    return answer

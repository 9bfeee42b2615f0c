"""Whether a server tells one party what another one has asked, without any clock: an attacker's experiment.

A victim plants digits behind a prompt. The attacker, who knows those before, asks once for each of the ten that may come
next and reads all that it is told: bodies and headers of every dialect, /v1/cache, /metrics, with its key and without one.
A field that is another one for one guess than for the nine others is a vote for that guess. Right by chance is one vote in
ten. Beside it: whether a page changes when only the victim asks, and what is answered to whoever names the victim's ids.
"""

import itertools
import math
import random
import string
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from foreword.bench.parties import Doors, Party, check, model_name

DIGITS = 6  # of a secret
SIGNIFICANT = 0.001  # that any of the channels tells by chance
SETTLED = 0.01  # seconds in which a server has counted an answer that it has given
RULES = "You answer questions about numbers, shortly. "
PAGES = ("/metrics", "/health", "/ready", "/v1/models", *(f"/v1/cache/{page}" for page in ("counts", "prefixes", "curve")))
OPERATORS = "/v1/cache/counts"

Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class Channel:
    """Something that is told, how often it gave the attacker a guess, how often that was right, and by chance is."""

    name: str
    votes: int
    right: int
    chance: float

    @property
    def by_chance(self) -> float:
        """The probability that so many votes or more are right by chance."""
        terms = (
            math.comb(self.votes, right) * self.chance**right * (1 - self.chance) ** (self.votes - right)
            for right in range(self.right, self.votes + 1)
        )
        return math.fsum(terms)


@dataclass(frozen=True, slots=True)
class TellingReport:
    """What the attacker made of what it was told.

    digits, right
        Digits that it guessed, each by the votes of all channels together, and how many were right.
    operators_pages
        Whether the attacker is an operator, who is told of all: then /v1/cache and /metrics were left out.
    """

    digits: int
    right: int
    requests: int
    channels: tuple[Channel, ...]
    operators_pages: bool

    @property
    def telling(self) -> tuple[Channel, ...]:
        """The channels that are right more often than chance makes any of them."""
        most = SIGNIFICANT / max(1, len(self.channels))
        return tuple(channel for channel in self.channels if channel.by_chance < most)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval (Wilson) of the share of digits that were guessed."""
        z, n, share = 1.96, self.digits, self.right / self.digits
        middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


def probe_telling(doors: Doors, victim: Party, attacker: Party, digits: int = 40, seed: int = 0) -> TellingReport:
    """Guess so many digits, and look as often whether a page changes. The server should have nothing else to do."""
    attack = _Attack(doors, victim, attacker, random.Random(seed))
    right = sum(attack.guess() for _ in range(digits))
    for _ in range(digits):
        attack.look()
    for _ in range(3):
        attack.name_ids()
    return TellingReport(digits, right, attack.requests, attack.channels(), attack.is_operator)


class _Attack:
    """The attack: what is known of the secrets, and the votes so far."""

    def __init__(self, doors: Doors, victim: Party, attacker: Party, rng: random.Random):
        self.requests = 0
        self._servers, self._client = doors, doors.attackers
        self._victim, self._attacker, self._rng = victim, attacker, rng
        self._model = model_name(self._client, attacker)
        self.is_operator = self._get(OPERATORS, attacker).status_code == 200
        pages = [(path, party) for path in PAGES for party in (attacker, Party())]
        if self.is_operator:
            pages = [(path, party) for path, party in pages if path.startswith(("/health", "/ready", "/v1/models"))]
        self._doors = [(path, party) for path, party in pages if self._get(path, party).status_code == 200]
        same_salts = victim.salt is None and attacker.salt is None
        dialects = ("completions", "chat/completions", "responses", *(("messages",) if same_salts else ()))
        self._dialects = [dialect for dialect in dialects if self._ask(dialect, "Hello", attacker).status_code == 200]
        self._victim_asks("completions", "Hello")
        self._turns = itertools.cycle(self._dialects)
        self._votes: Counter[tuple[str, float]] = Counter()
        self._rights: Counter[tuple[str, float]] = Counter()
        self._secret: list[int] = []
        self._known: list[int] = []

    def guess(self) -> bool:
        """Guess one digit by all that is told; whether it was right. Whatever it was, the attacker knows it afterwards."""
        if len(self._known) == len(self._secret):
            self._plant()
        start = self._start + "".join(f" {digit}" for digit in self._known)
        self._observe(f"{start} .")  # so that its own cache has the beginning, and all guesses find the same
        told = {digit: self._observe(f"{start} {digit} ?") for digit in self._rng.sample(range(10), 10)}
        right = self._secret[len(self._known)]
        self._known.append(right)
        ballot: Counter[int] = Counter()
        for name in sorted({name for fields in told.values() for name in fields}):
            voted = _odd_one({digit: fields.get(name, "") for digit, fields in told.items()})
            if voted is not None:
                ballot[voted] += 1
                self._vote(name, voted == right, 0.1)
        most = max(ballot.values(), default=0)
        return self._rng.choice([digit for digit in range(10) if ballot[digit] == most]) == right

    def look(self) -> None:
        """See whether a page changes when the victim asks, or just so."""
        before, asks = dict(self._pages()), self._rng.random() < 0.5
        if asks:
            self._victim_asks(self._rng.choice(self._dialects), self._fresh())
        time.sleep(SETTLED)
        after = dict(self._pages())
        for name in {*before, *after}:
            self._vote(f"{name}, changed by the victim", (before.get(name) != after.get(name)) == asks, 0.5)

    def name_ids(self) -> None:
        """Name an id of the victim's, and one that never was: whether the answers differ."""
        text = self._fresh()
        for dialect in self._dialects:
            theirs = str(self._victim_asks(dialect, text).json()["id"])
            never = theirs[: -len(uuid.uuid4().hex)] + uuid.UUID(int=self._rng.getrandbits(128)).hex
            told = [self._told_of(dialect, name, text) for name in (theirs, never)]
            for name in told[0]:
                self._vote(f"{dialect}: {name} of the victim's id", told[0][name] != told[1][name], 0.0)

    def channels(self) -> tuple[Channel, ...]:
        """All that gave a vote, the surest first."""
        found = [Channel(name, count, self._rights[name, chance], chance) for (name, chance), count in self._votes.items()]
        return tuple(sorted(found, key=lambda channel: channel.by_chance))

    def _plant(self) -> None:
        """The victim asks with new digits, in the next dialect."""
        self._dialect, self._start = next(self._turns), self._fresh() + " has the number"
        self._secret, self._known = self._rng.choices(range(10), k=DIGITS), []
        text = self._start + "".join(f" {digit}" for digit in self._secret) + ", and more of it."
        self._victim_asks(self._dialect, text)

    def _observe(self, text: str) -> Fields:
        """All that the attacker is told when it asks."""
        before = dict(self._pages())
        answer = check(self._ask(self._dialect, text, self._attacker))
        body = answer.json()
        told = dict(flat(body, f"{self._dialect} "))
        told |= {f"{self._dialect} header {name}": value for name, value in answer.headers.items()}
        if not self.is_operator:
            for page in (f"explain/{body['id']}", "recent?limit=1"):
                found = self._get(f"/v1/cache/{page}", self._attacker)
                told |= flat(found.json(), f"/v1/cache/{page.split('/')[0].split('?')[0]} ")
        if self._doors:
            time.sleep(SETTLED)
        told |= {name: _difference(before.get(name, ""), value) for name, value in self._pages()}
        return told

    def _pages(self) -> Iterator[tuple[str, str]]:
        """The fields of all pages that the attacker can read, with its key and without one."""
        for path, party in self._doors:
            answer = self._get(path, party)
            name = f"{path} {'with the key' if party.key else 'without a key'}: "
            if path == "/metrics":
                for line in answer.text.splitlines():
                    if not line.startswith("#"):
                        yield name + line.rpartition(" ")[0], line.rpartition(" ")[2]
            else:
                yield from flat(answer.json(), name)

    def _told_of(self, dialect: str, name: str, text: str) -> Fields:
        """What is answered to who names an id: explanations, comparisons, stored answers."""
        told = {}
        if not self.is_operator:
            found = self._get(f"/v1/cache/explain/{name}", self._attacker)
            told["explanation"] = _without(found, name)
        if dialect == "responses":
            compare = {"prompt_cache_options": {"comparison_response_id": name}}
            told["comparison"] = str(
                self._ask(dialect, text, self._attacker, compare).json().get("prompt_cache_diagnostics")
            )
            if self._victim.key != self._attacker.key:  # stored responses are the key's
                found = self._get(f"/v1/responses/{name}", self._attacker)
                told["stored answer"] = _without(found, name)
        if dialect == "messages":
            compare = {"diagnostics": {"previous_message_id": name}}
            told["comparison"] = str(self._ask(dialect, text, self._attacker, compare).json().get("diagnostics"))
        return told

    def _vote(self, name: str, right: bool, chance: float) -> None:
        self._votes[name, chance] += 1
        self._rights[name, chance] += right

    def _fresh(self) -> str:
        """A text that nobody has asked before."""
        return "".join(self._rng.choices(string.ascii_lowercase, k=100))

    def _victim_asks(self, dialect: str, text: str) -> httpx2.Response:
        return self._servers.have_victim_ask(lambda client: self._post(client, dialect, text, self._victim))

    def _ask(self, dialect: str, text: str, party: Party, more: Mapping[str, Any] | None = None) -> httpx2.Response:
        return self._post(self._client, dialect, text, party, more)

    def _post(
        self, client: httpx2.Client, dialect: str, text: str, party: Party, more: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        self.requests += 1
        body = {"model": self._model, **_body(dialect, text), **(more or {})}
        if party.salt is not None:
            body["cache_salt"] = party.salt
        return client.post(f"/v1/{dialect}", json=body, headers=party.headers)

    def _get(self, path: str, party: Party) -> httpx2.Response:
        return self._client.get(path, headers=party.headers)


def flat(found: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a JSON value, each under its path."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from flat(value, f"{name}.{key}")
    elif isinstance(found, Sequence) and not isinstance(found, str):
        for place, value in enumerate(found):
            yield from flat(value, f"{name}[{place}]")
    else:
        yield name, str(found)


def _without(answer: httpx2.Response, name: str) -> str:
    """Status and body of an answer, without the id that was named and the request's own."""
    return f"{answer.status_code} {answer.text.replace(name, '').replace(answer.headers.get('x-request-id', name), '')}"


def _odd_one(values: Mapping[int, str]) -> int | None:
    """The guess whose value is another one than that of all others; None unless there is one."""
    counts = Counter(values.values())
    if sorted(counts.values()) != [1, len(values) - 1]:
        return None
    return next(digit for digit, value in values.items() if counts[value] == 1)


def _difference(before: str, after: str) -> str:
    """What a page's field has gone up by; its text where it is no number."""
    try:
        return f"{float(after) - float(before or 0):g}"
    except ValueError:
        return after


def _body(dialect: str, text: str) -> dict[str, Any]:
    messages: Iterable[dict[str, str]] = [{"role": "user", "content": text}]
    if dialect == "completions":
        return {"prompt": text, "max_tokens": 1, "temperature": 0}
    if dialect == "responses":
        return {"instructions": RULES, "input": text, "max_output_tokens": 1, "temperature": 0}
    if dialect == "messages":
        return {"system": RULES, "messages": messages, "max_tokens": 1, "temperature": 0}
    return {"messages": [{"role": "system", "content": RULES}, *messages], "max_tokens": 1, "temperature": 0}

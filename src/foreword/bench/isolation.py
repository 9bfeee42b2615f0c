"""Whether one party can tell what another has asked, by time or by what it is told: attacks on one's own server.

A victim asks some prompts and not others; then an attacker asks all of them and looks at how long each took. The area under
the ROC curve (AUC) is the chance that a prompt which the victim had not asked takes longer than one which it had: 0.5 when
nothing can be told, 1 when everything can. The same with the attacker's own prompts shows what the clock could see.
What can be told without a clock is tried in telling.py.
"""

import math
import random
import string
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import httpx2

from foreword.bench.parties import Doors, Party, check, model_name, two_parties
from foreword.bench.telling import TellingReport, probe_telling
from foreword.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Separation:
    """How well two sets of times can be told apart.

    auc
        Chance that a time of the second set is above one of the first; ties count half.
    error
        Standard error of ``auc`` (Hanley and McNeil, 1982).
    first, second
        Median times in seconds.
    """

    auc: float
    error: float
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Fresh prompts against those that the victim had asked (``across``), and against the attacker's own (``within``).

    telling
        What the attacker made of all that it was told.
    salts
        Whether the two were salts under one key.
    """

    samples: int
    across: Separation
    within: Separation
    telling: TellingReport
    salts: bool

    @property
    def told_by_time(self) -> bool:
        """Whether the clock tells: 0.5 is over three standard errors below the AUC, once in 700 times by chance."""
        return self.across.auc - 3 * self.across.error > 0.5

    @property
    def told_apart(self) -> bool:
        """Whether the attacker can tell, by time or by anything it is told."""
        return self.told_by_time or bool(self.telling.telling)


def probe_isolation(
    url: str,
    victim_key: str,
    attacker_key: str,
    samples: int = 40,
    characters: int = 1000,
    seed: int = 0,
    victim_url: str | None = None,
) -> ProbeReport:
    """Run the experiments with ``samples`` digits, and prompts of each kind. The server should have nothing else to do.

    With one key, or none, victim and attacker are two salts under it. ``victim_url``: the victim asks at another server,
    which shares a store with the attacker's; what is asked there twice lies in that store.
    """
    rng, (victim, attacker) = random.Random(seed), two_parties(victim_key, attacker_key)
    with ExitStack() as stack:
        client = stack.enter_context(_client(url))
        doors = Doors(client if victim_url is None else stack.enter_context(_client(victim_url)), client)
        prober = _Prober(doors, model_name(client, attacker), characters, rng)
        prober.warm_up(victim, attacker)
        told = probe_telling(doors, victim, attacker, samples, seed)
        kinds = ["across", "within", "fresh"] * samples
        rng.shuffle(kinds)
        times: dict[str, list[float]] = {"across": [], "within": [], "fresh": []}
        for kind in kinds:
            prompt = prober.fresh_prompt()
            before = prober.fresh_prompt() if kind == "fresh" else prompt  # something is asked before, so that all are alike
            prober.ask_before(before, attacker if kind == "within" else victim, own=kind == "within")
            times[kind].append(prober.ask(prompt + " and", attacker))
    fresh = times["fresh"]
    across, within = separation(times["across"], fresh), separation(times["within"], fresh)
    return ProbeReport(samples, across, within, told, salts=victim.key == attacker.key)


def separation(first: Sequence[float], second: Sequence[float]) -> Separation:
    """How well the second set's times can be told from the first's by being longer. ParameterError for an empty set."""
    if not first or not second:
        raise ParameterError("A separation needs at least one time in each set.")
    above = sum((b > a) + 0.5 * (b == a) for a in first for b in second)
    auc = above / (len(first) * len(second))
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (len(second) - 1) * (q1 - auc * auc) + (len(first) - 1) * (q2 - auc * auc)
    error = math.sqrt(max(0.0, variance) / (len(first) * len(second)))
    return Separation(auc, error, sorted(first)[len(first) // 2], sorted(second)[len(second) // 2])


class _Prober:
    """Asks for one token and looks at the clock."""

    def __init__(self, doors: Doors, model: str, characters: int, rng: random.Random):
        self._doors, self._model, self._characters, self._rng = doors, model, characters, rng

    def fresh_prompt(self) -> str:
        """A text that nobody has asked before."""
        return "".join(self._rng.choices(string.ascii_lowercase + " ", k=self._characters))

    def ask(self, prompt: str, party: Party) -> float:
        """Seconds until the attacker's server has answered one token. Raises CredentialsError and ServiceError."""
        start = time.perf_counter()
        answer = self._post(self._doors.attackers, prompt, party)
        seconds = time.perf_counter() - start
        check(answer)
        return seconds

    def ask_before(self, prompt: str, party: Party, own: bool) -> None:
        """Ask what may be asked again, at the attacker's server (``own``) or the victim's."""
        if own:
            self.ask(prompt, party)
        else:
            self._doors.have_victim_ask(lambda client: self._post(client, prompt, party))

    def warm_up(self, victim: Party, attacker: Party) -> None:
        """First uses of connections and kernels, so that no kind of prompt pays for them."""
        for _ in range(3):
            self.ask_before(self.fresh_prompt(), victim, own=False)
            self.ask(self.fresh_prompt(), attacker)

    def _post(self, client: httpx2.Client, prompt: str, party: Party) -> httpx2.Response:
        body = {"model": self._model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        if party.salt is not None:
            body["cache_salt"] = party.salt
        return client.post("/v1/completions", json=body, headers=party.headers)


def _client(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url.rstrip("/").removesuffix("/v1"), timeout=120)

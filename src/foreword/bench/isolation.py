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
from dataclasses import dataclass

import httpx2

from foreword.bench.parties import Party, check, model_name, two_parties
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
    url: str, victim_key: str, attacker_key: str, samples: int = 40, characters: int = 1000, seed: int = 0
) -> ProbeReport:
    """Run the experiments with ``samples`` digits, and prompts of each kind. The server should have nothing else to do.

    With one key, or none, victim and attacker are two salts under it.
    """
    rng, (victim, attacker) = random.Random(seed), two_parties(victim_key, attacker_key)
    with httpx2.Client(base_url=url.rstrip("/").removesuffix("/v1"), timeout=120) as client:
        prober = _Prober(client, model_name(client, attacker), characters, rng)
        prober.warm_up(victim, attacker)
        told = probe_telling(client, victim, attacker, samples, seed)
        kinds = ["across", "within", "fresh"] * samples
        rng.shuffle(kinds)
        times: dict[str, list[float]] = {"across": [], "within": [], "fresh": []}
        for kind in kinds:
            prompt = prober.fresh_prompt()
            before = prober.fresh_prompt() if kind == "fresh" else prompt  # something is asked before, so that all are alike
            prober.ask(before, attacker if kind == "within" else victim)
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

    def __init__(self, client: httpx2.Client, model: str, characters: int, rng: random.Random):
        self._client, self._model, self._characters, self._rng = client, model, characters, rng

    def fresh_prompt(self) -> str:
        """A text that nobody has asked before."""
        return "".join(self._rng.choices(string.ascii_lowercase + " ", k=self._characters))

    def ask(self, prompt: str, party: Party) -> float:
        """Seconds until the answer, of one token, is there. Raises CredentialsError and ServiceError."""
        body = {"model": self._model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        if party.salt is not None:
            body["cache_salt"] = party.salt
        start = time.perf_counter()
        answer = self._client.post("/v1/completions", json=body, headers=party.headers)
        seconds = time.perf_counter() - start
        check(answer)
        return seconds

    def warm_up(self, *parties: Party) -> None:
        """First uses of connections and kernels, so that no kind of prompt pays for them."""
        for _ in range(3):
            for party in parties:
                self.ask(self.fresh_prompt(), party)

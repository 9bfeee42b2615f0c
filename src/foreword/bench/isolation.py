"""Whether a cache hit can be told across tenants by timing: an attacker's experiment, run on one's own server.

A victim asks some prompts and not others; then an attacker asks all of them and looks at how long each took. The area under
the ROC curve (AUC) is the chance that a prompt which the victim had not asked takes longer than one which it had: 0.5 when
nothing can be told, 1 when everything can. The same with the attacker's own prompts shows what the clock could see.
"""

import math
import random
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from foreword.errors import CredentialsError, ParameterError, ServiceError


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
    """Fresh prompts against those that the victim had asked (``across``), and against the attacker's own (``within``)."""

    samples: int
    across: Separation
    within: Separation

    @property
    def told_apart(self) -> bool:
        """Whether the attacker can tell: 0.5 is over three standard errors below the AUC, once in 700 times by chance."""
        return self.across.auc - 3 * self.across.error > 0.5


def probe_isolation(
    url: str, victim_key: str, attacker_key: str, samples: int = 40, characters: int = 1000, seed: int = 0
) -> ProbeReport:
    """Run the experiment with ``samples`` prompts of each kind. The server should have nothing else to do."""
    rng = random.Random(seed)
    with httpx2.Client(base_url=url.rstrip("/").removesuffix("/v1"), timeout=120) as client:
        prober = _Prober(client, _model_name(client, attacker_key), characters, rng)
        prober.warm_up(victim_key, attacker_key)
        kinds = ["across", "within", "fresh"] * samples
        rng.shuffle(kinds)
        times: dict[str, list[float]] = {"across": [], "within": [], "fresh": []}
        for kind in kinds:
            prompt = prober.fresh_prompt()
            before = prober.fresh_prompt() if kind == "fresh" else prompt  # something is asked before, so that all are alike
            prober.ask(before, attacker_key if kind == "within" else victim_key)
            times[kind].append(prober.ask(prompt + " and", attacker_key))
    fresh = times["fresh"]
    return ProbeReport(samples, separation(times["across"], fresh), separation(times["within"], fresh))


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

    def ask(self, prompt: str, key: str) -> float:
        """Seconds until the answer, of one token, is there. Raises CredentialsError and ServiceError."""
        body = {"model": self._model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        start = time.perf_counter()
        answer = self._client.post("/v1/completions", json=body, headers=_headers(key))
        seconds = time.perf_counter() - start
        _check(answer)
        return seconds

    def warm_up(self, *keys: str) -> None:
        """First uses of connections and kernels, so that no kind of prompt pays for them."""
        for _ in range(3):
            for key in keys:
                self.ask(self.fresh_prompt(), key)


def _model_name(client: httpx2.Client, key: str) -> str:
    try:
        answer = client.get("/v1/models", headers=_headers(key))
    except httpx2.HTTPError as error:
        raise ServiceError(f"There is no server at {client.base_url}: {error}") from error
    _check(answer)
    name: str = answer.json()["data"][0]["id"]
    return name


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _check(answer: httpx2.Response) -> None:
    if answer.status_code == 401:
        raise CredentialsError("The server does not know one of the two API keys.")
    if answer.status_code != 200:
        raise ServiceError(f"The server answered {answer.status_code}: {answer.text[:200]}")

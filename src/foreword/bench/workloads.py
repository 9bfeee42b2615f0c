"""Four ways in which people share prefixes, as loads of random tokens, and the figures that are read from each.

A workload is a generator: it gives a batch of requests that are sent together, and gets their answers back before it gives
the next. What it sends depends on nothing but its sizes, a random generator and the answers.
"""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from foreword.config import require, unknown_option
from foreword.errors import ParameterError


@dataclass(frozen=True)
class Ask:
    """A request: token ids, and exactly how many tokens to generate."""

    prompt: list[int]
    n_out: int


@dataclass(frozen=True)
class Answer:
    """``first`` and ``last``: seconds from the sending of the batch to the first and to the last token."""

    tokens: list[int]
    cached: int
    """Prompt tokens that were not computed for this request."""
    first: float
    last: float
    drafted: int = 0
    """Tokens of the answer that were computed before anybody knew that they come."""
    accepted: int = 0
    """Those of them that came."""


@dataclass(frozen=True)
class Round:
    """A batch that was sent together, and its answers, in the same order."""

    asks: list[Ask]
    answers: list[Answer]

    @property
    def wall(self) -> float:
        """Seconds until all had their last token."""
        return max(answer.last for answer in self.answers)

    @property
    def generated(self) -> int:
        """Tokens that were generated in all."""
        return sum(ask.n_out for ask in self.asks)


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens: the prefix that all share, what each request (or turn) adds, and what is generated for it."""

    prefix: int
    own: int
    n_out: int
    requests: int
    turns: int = 1

    @property
    def longest(self) -> int:
        """Prompt and answer of the longest request."""
        return self.prefix + self.turns * (self.own + self.n_out)

    def scaled(self, scale: float) -> "Sizes":
        """Lengths times ``scale``; as many requests and turns as before."""
        return replace(
            self,
            prefix=max(1, int(self.prefix * scale)),
            own=max(1, int(self.own * scale)),
            n_out=max(2, int(self.n_out * scale)),
        )


Batches = Generator[list[Ask], list[Answer], None]


@dataclass(frozen=True)
class Measure:
    """A figure read from the rounds of one run.

    bounded
        Whether the same reading of the fastest possible rounds is a bound. Not so for the median over a crowd's first
        tokens: to let some wait for others is a choice.
    """

    name: str
    unit: str
    read: Callable[[Sequence[Round]], float]
    bounded: bool = True


@dataclass(frozen=True)
class Workload:
    """A load with a name."""

    name: str
    about: str
    sizes: Sizes
    batches: Callable[[Sizes, random.Random, int], Batches]
    """(sizes, random generator, size of the vocabulary) → batches."""
    measures: tuple[Measure, ...]

    def fitted(self, scale: float, context: int) -> "Workload":
        """With lengths times ``scale``. If the model's context asks for less, the prefix is cut, and all else if need be."""
        sizes = self.sizes.scaled(scale)
        if sizes.longest > context:
            sizes = replace(sizes, prefix=max(1, sizes.prefix - (sizes.longest - context)))
        while sizes.longest > context:
            shorter = sizes.scaled(0.9)
            require(shorter != sizes, f"Workload {self.name!r} needs {sizes.longest} tokens; the context has {context}.")
            sizes = shorter
        return replace(self, sizes=sizes)

    def run(self, seed: str, vocab: int, send: Callable[[list[Ask]], list[Answer]]) -> list[Round]:
        """Send every batch in its turn. The tokens, below ``vocab``, depend on the workload's name and the seed."""
        batches, rounds = self.batches(self.sizes, random.Random(f"{self.name}/{seed}"), vocab), []
        asks: list[Ask] | None = next(batches)
        while asks is not None:
            answers = send(asks)
            rounds.append(Round(asks, answers))
            try:
                asks = batches.send(answers)
            except StopIteration:
                asks = None
        return rounds

    @property
    def requests(self) -> int:
        """How many requests a run sends."""
        return sum(len(each.asks) for each in self.run("", 1, lambda asks: [Answer([], 0, 0.0, 0.0)] * len(asks)))


def _some(rng: random.Random, count: int, vocab: int) -> list[int]:
    return [rng.randrange(vocab) for _ in range(count)]


def _behind(head: list[int], sizes: Sizes, rng: random.Random, vocab: int, count: int) -> list[Ask]:
    return [Ask(head + _some(rng, sizes.own, vocab), sizes.n_out) for _ in range(count)]


def _table(sizes: Sizes, rng: random.Random, vocab: int) -> Batches:
    head = _some(rng, sizes.prefix, vocab)
    for _ in range(sizes.requests):
        yield _behind(head, sizes, rng, vocab, 1)


def _crowd(sizes: Sizes, rng: random.Random, vocab: int) -> Batches:
    head = _some(rng, sizes.prefix, vocab)
    for _ in ("cold", "warm"):
        yield _behind(head, sizes, rng, vocab, sizes.requests)


def _chat(sizes: Sizes, rng: random.Random, vocab: int) -> Batches:
    head = _some(rng, sizes.prefix, vocab)
    histories = [head for _ in range(sizes.requests)]
    for _ in range(sizes.turns):
        histories = [history + _some(rng, sizes.own, vocab) for history in histories]
        answers = yield [Ask(history, sizes.n_out) for history in histories]
        histories = [history + answer.tokens for history, answer in zip(histories, answers, strict=True)]


def _long(sizes: Sizes, rng: random.Random, vocab: int) -> Batches:
    head = _some(rng, sizes.prefix, vocab)
    yield [replace(ask, n_out=1) for ask in _behind(head, sizes, rng, vocab, 1)]
    yield _behind(head, sizes, rng, vocab, sizes.requests)


def _rate(rounds: Sequence[Round]) -> float:
    return sum(each.generated for each in rounds) / sum(each.wall for each in rounds)


def _first(rounds: Sequence[Round]) -> float:
    return median(answer.first for each in rounds for answer in each.answers)


def _alone_rate(rounds: Sequence[Round]) -> float:
    """Tokens a second after the first, of requests that run alone."""
    return median((len(a.tokens) - 1) / (a.last - a.first) for each in rounds for a in each.answers)


def _batch_rate(each: Round) -> float:
    """Tokens a second of all together, once each has its first."""
    seconds = each.wall - max(answer.first for answer in each.answers)
    return sum(ask.n_out - 1 for ask in each.asks) / seconds


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "table",
            "one shared prefix, many questions, one after another",
            Sizes(prefix=2048, own=24, n_out=32, requests=16),
            _table,
            (
                Measure("first token, cold", "s", lambda rounds: _first(rounds[:1])),
                Measure("first token, warm", "s", lambda rounds: _first(rounds[1:])),
                Measure("decode", "tok/s", _alone_rate),
            ),
        ),
        Workload(
            "crowd",
            "many at once behind one prefix; then again with other questions",
            Sizes(prefix=2048, own=64, n_out=64, requests=32),
            _crowd,
            (
                Measure("cold", "tok/s", lambda rounds: _rate(rounds[:1])),
                Measure("warm", "tok/s", lambda rounds: _rate(rounds[1:])),
                Measure("first token, cold", "s", lambda rounds: _first(rounds[:1]), bounded=False),
                Measure("first token, warm", "s", lambda rounds: _first(rounds[1:]), bounded=False),
            ),
        ),
        Workload(
            "chat",
            "conversations under one system prompt, turn by turn",
            Sizes(prefix=512, own=64, n_out=64, requests=8, turns=6),
            _chat,
            (
                Measure("all turns", "s", lambda rounds: sum(each.wall for each in rounds)),
                Measure("generated", "tok/s", _rate),
                Measure("first token", "s", _first, bounded=False),
            ),
        ),
        Workload(
            "long",
            "a long prefix, computed once, then a small batch behind it",
            Sizes(prefix=8192, own=16, n_out=64, requests=8),
            _long,
            (
                Measure("first token, cold", "s", lambda rounds: _first(rounds[:1])),
                Measure("warm", "tok/s", lambda rounds: _rate(rounds[1:])),
                Measure("decode", "tok/s", lambda rounds: _batch_rate(rounds[1])),
                Measure("first token, warm", "s", lambda rounds: _first(rounds[1:]), bounded=False),
            ),
        ),
    )
}


def choose_workloads(names: Sequence[str], scale: float, context: int) -> list[Workload]:
    """Workloads by name (none named: all) in sizes that fit the context. ParameterError for unknown names."""
    for name in names:
        if name not in WORKLOADS:
            raise ParameterError(unknown_option(name, list(WORKLOADS), "workload"))
    return [WORKLOADS[name].fitted(scale, context) for name in dict.fromkeys(names or WORKLOADS)]

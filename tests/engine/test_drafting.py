"""Drafts change nothing but the number of steps: random lives with them and without, over a machine whose KV are hashes."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from foreword.account import Drafted
from foreword.cache import CacheConfig, PrefixCache
from foreword.engine.drafting import Drafting
from foreword.engine.engine import Engine
from foreword.engine.generation import Generation
from foreword.engine.request import EngineRequest
from foreword.engine.runner import Sampled, Step, StepChunk
from foreword.events import Event, EventRelay, StepFinished
from foreword.sampling_params import SamplingParams
from foreword.sched import Drafter, Predicted, PromptLookup, Proposal, Request, SchedulerConfig, TreeDrafter
from foreword.testing import FakeRunner, VirtualClock, fake_engine
from foreword.tokens import pack_tokens

LIVES, BATCHES = 160, 4
Drafters = Callable[[PrefixCache], Sequence[Drafter]]


def usual(cache: PrefixCache) -> Sequence[Drafter]:
    return Predicted(), TreeDrafter(cache.continuations), PromptLookup()


@dataclass
class Odd:
    """A drafter that proposes what it is told to."""

    says: Callable[[Request, int], Sequence[int]]
    name: str = "odd"
    asked: int = 0
    left: list[Request] = field(default_factory=list)

    def propose(self, request: Request, most: int) -> Proposal:
        self.asked += 1
        return Proposal(self.says(request, most), 16)

    def ended(self, request: Request) -> None:
        self.left.append(request)


def next_token(chunk: StepChunk) -> int:
    """Of few tokens, by the last two and the seed: answers repeat themselves, and each other."""
    assert chunk.sampling is not None
    last = chunk.tokens[max(0, chunk.end - 2) : chunk.end].tobytes()
    return zlib.crc32(last, chunk.sampling.seed if chunk.sampling.params.temperature else 0) % 7


class Life:
    """Random requests, aborts and little memory; all of it follows from the seed, whatever is drafted."""

    def __init__(self, seed: int, drafters: Drafters | None):
        self.rng = rng = random.Random(seed)
        cache = CacheConfig(num_blocks=rng.choice([14, 30, 200]), block_size=rng.choice([1, 2, 4, 16]))
        limits = SchedulerConfig(max_num_seqs=rng.choice([2, 8]), max_num_batched_tokens=rng.choice([8, 64]))
        self.steps: list[StepFinished] = []
        events = EventRelay()
        events.add(self.hear)
        self.engine = fake_engine(cache, limits, FakeRunner(cache, next_token=next_token), events, drafters)
        self.prompts: list[list[int]] = []
        self.asked: dict[str, Generation] = {}
        self.aborts: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.steps.append(event)

    def ask(self) -> None:
        rng = self.rng
        base = rng.choice(self.prompts) if self.prompts and rng.random() < 0.7 else []
        ids = base[: rng.randrange(len(base) + 1)] if rng.random() < 0.4 else base
        ids = [*ids, *rng.choices(range(7), k=rng.randrange(0 if ids else 1, 6))]
        name = f"r{len(self.asked)}"
        params = SamplingParams(
            n=rng.choice([1, 1, 1, 2]),
            max_tokens=rng.choice([0, 1, 2, 9, 30]),
            temperature=rng.choice([0.0, 0.0, 1.0]),
            seed=rng.randrange(3),
            stop_token_ids=[6] if rng.random() < 0.3 else None,
        )
        asked = EngineRequest(
            pack_tokens(ids),
            params,
            name,
            tenant=rng.choice([None, "x", "y"]),
            public_tokens=rng.choice([0, 3, 100]),
            use_cache=rng.random() < 0.9,
            predicted=pack_tokens(rng.choices(range(7), k=20)) if rng.random() < 0.3 else b"",
        )
        total = len(ids) + params.max_tokens
        cache = self.engine.scheduler.cache.config
        if total <= cache.num_blocks * cache.block_size:
            self.asked[name] = self.engine.add_request(asked)
            self.prompts.append(ids)
            if rng.random() < 0.1:
                self.aborts[name] = rng.randrange(6)

    def step(self) -> None:
        self.engine.step()
        for name, tokens in list(self.aborts.items()):
            if self.asked[name].num_output_tokens >= tokens:
                self.engine.abort(name)
                del self.aborts[name]

    def live(self) -> None:
        for _ in range(self.rng.randrange(25)):
            self.ask()
            for _ in range(self.rng.choice([0, 1, 4])):
                self.step()
                self.engine.check_integrity()
        while self.engine.has_unfinished_requests():
            self.step()
        self.engine.check_integrity()
        assert self.engine.usage().held_blocks == 0

    def answers(self) -> dict[str, list[tuple[list[int], str | None]]]:
        """Tokens and ends. Of an answer that was aborted, what it had when it might have been."""
        return {
            name: [(each.token_ids, each.finish_reason) for each in generation.output().outputs]
            for name, generation in self.asked.items()
        }


def same(one: Life, other: Life) -> int:
    """How many tokens are the same; what was aborted after another step may be longer, and no other than the other."""
    count = 0
    for name, found in other.answers().items():
        for (tokens, end), (expected, expected_end) in zip(found, one.answers()[name], strict=True):
            if "abort" in (end, expected_end):
                shared = min(len(tokens), len(expected))
                assert tokens[:shared] == expected[:shared], name
            else:
                assert (tokens, end) == (expected, expected_end), name
            count += len(tokens)
    return count


@pytest.mark.parametrize("batch", range(BATCHES))
def test_answers_are_the_same_with_drafts_and_without(batch: int) -> None:
    steps = drafts = 0
    for seed in range(batch, LIVES, BATCHES):
        try:
            plain, drafted = Life(seed, None), Life(seed, usual)
            plain.live()
            drafted.live()
            same(plain, drafted)
            steps += len(plain.steps) - len(drafted.steps)
            drafts += sum(len(step.drafts) for step in drafted.steps)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert steps > 0 < drafts, "drafts saved steps"


def rubbish(request: Request, most: int) -> Sequence[int]:
    return [request.num_tokens % 7] * most


@pytest.mark.parametrize("seed", range(4))
def test_a_drafter_that_proposes_rubbish_costs_nothing_but_time(seed: int) -> None:
    for each in range(seed, 60, 4):
        plain, drafted = Life(each, None), Life(each, lambda _: [Odd(rubbish)])
        plain.live()
        drafted.live()
        same(plain, drafted)


def raising(request: Request, most: int) -> Sequence[int]:
    raise ValueError(f"no idea what {most} tokens follow {request.num_tokens}")


WRONG: list[Callable[[Request, int], Sequence[int]]] = [
    lambda _, most: [1] * (most + 1),
    lambda _, most: [2**40] * most,
    lambda _, most: [-1] * most,
    lambda _, most: ["one"] * most,  # type: ignore[list-item]
    lambda *_: None,  # type: ignore[list-item]
    raising,
]


@pytest.mark.parametrize("says", WRONG)
def test_a_drafter_that_cannot_be_used_is_counted_and_not_asked_again(says: Callable[[Request, int], Sequence[int]]) -> None:
    odd = Odd(says)
    engine = fake_engine(runner=FakeRunner(CacheConfig(num_blocks=64, block_size=4)), drafters=lambda _: [odd])
    asked = engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=8)))
    run(engine)
    assert asked.continuations[0].token_ids() == list(range(3, 11))
    assert (odd.asked, engine.state().draft_faults, asked.account().drafts) == (1, 1, {})


def run(engine: Engine) -> None:
    while engine.has_unfinished_requests():
        engine.step()
    engine.check_integrity()
    assert engine.usage().held_blocks == 0


def counted(request: Request, most: int) -> Sequence[int]:
    """The tokens of ``count_so_far``: all right."""
    return range(request.num_tokens, request.num_tokens + most)


def test_what_is_right_is_kept_and_counted_by_drafter() -> None:
    odd, told = Odd(counted), list[StepFinished]()
    events = EventRelay()
    events.add(lambda event: told.append(event) if isinstance(event, StepFinished) else None)
    engine = fake_engine(events=events, drafters=lambda _: [odd])
    asked = engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=40), "a"))
    run(engine)
    assert asked.continuations[0].token_ids() == list(range(3, 43))
    assert asked.account().drafts == {"odd": Drafted(37, 37)}
    looked = [draft for step in told for draft in step.drafts]
    assert [(each.request_id, each.drafter, each.position, each.accepted) for each in looked] == [
        ("a", "odd", 4, 12),
        ("a", "odd", 17, 25),
    ]
    assert [step.generating_rows for step in told] == [0, 13, 26]
    assert odd.left == [asked.continuations[0].request]


class Breaks(FakeRunner):
    """What is computed with a draft is no number."""

    def run(self, step: Step) -> list[Sampled]:
        return [
            Sampled(broken=True) if chunk.draft else brought
            for chunk, brought in zip(step.chunks, super().run(step), strict=True)
        ]


def test_a_draft_that_breaks_a_row_is_computed_again_without() -> None:
    engine = fake_engine(runner=Breaks(CacheConfig(num_blocks=64, block_size=4)), drafters=lambda _: [Odd(counted)])
    asked = engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=8)))
    run(engine)
    assert (asked.error, asked.continuations[0].token_ids()) == (None, list(range(3, 11)))
    assert (asked.account().drafted, asked.account().accepted, engine.state().draft_faults) == (6, 0, 1)


def test_a_draft_gets_what_others_leave_of_a_step() -> None:
    cache = CacheConfig(num_blocks=64, block_size=4)
    runner = FakeRunner(cache)
    engine = fake_engine(
        cache, SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=8), runner, None, lambda _: [Odd(counted)]
    )
    engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=30), "a"))
    engine.step()
    engine.add_request(EngineRequest(pack_tokens(range(100, 112)), SamplingParams(max_tokens=2), "b"))
    engine.step()
    engine.step()
    assert runner.steps[1] == (("a", 3, 4, True), ("b", 0, 7, False)), "the prompt takes the rest"
    assert runner.steps[2] == (("a", 4, 7, True), ("b", 7, 12, True)), "two of eight are left"
    run(engine)


def test_blocks_of_what_was_refused_are_given_back() -> None:
    cache = CacheConfig(num_blocks=64, block_size=4)
    engine = fake_engine(cache, drafters=lambda _: [Odd(lambda _, most: [0] * most)])
    engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=60)))
    for held in (1, 1, 2, 2, 2, 2, 3):
        engine.step()
        assert engine.usage().held_blocks == held
        engine.check_integrity()


def test_nothing_drafted_is_a_drafting_without_drafters() -> None:
    assert Drafting((), 10).drafts([]) == {}


class Slow:
    """A drafter that takes ``seconds``, and knows nothing before a position; notes at which positions it is asked."""

    name = "slow"

    def __init__(self, seconds: float, knows_from: int):
        self.clock = VirtualClock()
        self.asked: list[int] = []
        self._seconds, self._knows_from = seconds, knows_from

    def propose(self, request: Request, most: int) -> Proposal:
        self.clock.now += self._seconds
        self.asked.append(request.num_tokens)
        return Proposal(counted(request, most) if request.num_tokens >= self._knows_from else (), 16)

    def ended(self, request: Request) -> None:
        pass


def asked_at(seconds: float, tokens: int, knows_from: int = 10**6) -> list[int]:
    """Where a slow drafter is asked during an answer whose steps take a second."""
    slow, cache = Slow(seconds, knows_from), CacheConfig(num_blocks=64, block_size=4)
    engine = fake_engine(cache, runner=FakeRunner(cache, slow.clock, lambda _: 1.0), drafters=lambda _: [slow])
    engine.add_request(EngineRequest(pack_tokens([1, 2, 3]), SamplingParams(max_tokens=tokens)))
    run(engine)
    return slow.asked


def test_looking_in_vain_takes_no_more_than_its_share_of_steps() -> None:
    assert asked_at(0.004, 40) == list(range(4, 42)), "it costs next to nothing"
    gaps = [after - before for before, after in pairwise(asked_at(0.018, 60))]
    assert gaps[:3] == [1, 2, 4]
    assert set(gaps[3:]) == {4}, "0.018 s of 4 s are less than half a percent"
    assert max(after - before for before, after in pairwise(asked_at(9.0, 200))) == 17, "but it is never given up"


def test_the_first_draft_that_pays_ends_the_rests() -> None:
    asked = asked_at(0.018, 150, knows_from=60)
    first = next(place for place in asked if place >= 60)
    assert first < 60 + 5
    assert len([place for place in asked if place >= first]) < 8, "drafts of up to 32, one behind the other"


@pytest.mark.parametrize("public", [0, 4, 11])
def test_a_draft_sees_nothing_of_another_tenant(public: int) -> None:
    """Two tenants with equal prompts, whose answers nobody else could know."""
    seen: list[tuple[int, ...]] = []

    class Watched(TreeDrafter):
        def propose(self, request: Request, most: int) -> Proposal:
            found = super().propose(request, most)
            seen.append(tuple(found.tokens))
            return found

    cache = CacheConfig(num_blocks=64, block_size=4)
    secret = {"x": 1000, "y": 2000}

    def says(chunk: StepChunk) -> int:
        return secret[chunk.request_id[0]] + chunk.end

    engine = fake_engine(
        cache, runner=FakeRunner(cache, next_token=says), drafters=lambda cache: [Watched(cache.continuations)]
    )

    def ask(name: str) -> list[tuple[int, ...]]:
        seen.clear()
        params = SamplingParams(max_tokens=12)
        engine.add_request(EngineRequest(pack_tokens(range(11)), params, name, tenant=name[0], public_tokens=public))
        run(engine)
        return [found for found in seen if found]

    assert not ask("x1")
    assert not ask("y1"), "the same prompt, another's answer"
    (own, *_) = ask("x2")
    assert own == tuple(range(1012, 1022)), "its own answer, but for the last token, which has no KV"
    (own, *_) = ask("y2")
    assert set(own) <= set(range(2011, 2023))

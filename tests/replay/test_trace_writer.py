"""One's own engine as a trace: a replay comes to the same figures, and the file tells nothing else."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from foreword.account import Account, Source
from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrivatePart
from foreword.engine.request import EngineRequest
from foreword.errors import TraceError
from foreword.events import ConversationState, EventRelay, RequestFinished, StepFinished
from foreword.replay import EngineReplay, TraceRequest, TraceWriter, read_trace, replay_cache
from foreword.replay.trace_writer import BLOCK_TOKENS
from foreword.sampling_params import SamplingParams
from foreword.sched import SchedulerConfig
from foreword.testing import FakeRunner, fake_engine, finished
from foreword.tokens import common_with_edge, pack_tokens

SPACE = Namespace(ModelFingerprint("weights"), tenant="acme")
CACHE = CacheConfig(num_blocks=48, block_size=4)
ONE_AT_A_TIME = SchedulerConfig(max_num_seqs=1, lookahead=1)


class Written:
    """What a writer wrote."""

    def __init__(self, secret: bytes = b"s" * 32, began: float = 1e9, block_tokens: int = BLOCK_TOKENS):
        self.lines: list[str] = []
        self.writer = TraceWriter(self.lines.append, secret, start=50.0, began=began, block_tokens=block_tokens)

    def requests(self) -> list[TraceRequest]:
        return list(read(self.lines))


def read(lines: list[str]) -> Iterator[TraceRequest]:
    trace = read_trace(io.BytesIO("\n".join(lines).encode()))
    assert trace.kind == "foreword"
    return trace.requests


def event(
    ids: list[int],
    now: float = 51.0,
    space: Namespace = SPACE,
    generated: tuple[int, ...] = (),
    private: PrivatePart | None = None,
) -> RequestFinished:
    account = Account(len(ids), {Source.COMPUTED: len(ids)})
    return finished(pack_tokens(ids), account, space, now, "r", pack_tokens(generated), private)


def test_lengths_times_and_shared_beginnings_are_kept() -> None:
    written = Written()
    written.writer(event([*range(10)], now=51.5, generated=(7, 7, 8)))
    written.writer(event([*range(10), 7, 7, 8, 1, 2], now=53.0))
    first, second = written.requests()
    assert (first.prompt_tokens, first.output_tokens, second.prompt_tokens, second.output_tokens) == (10, 3, 15, 0)
    assert (first.arrival, second.arrival) == (0.0, 1.5)
    whole = first.prompt() + first.answer()
    assert common_with_edge(whole, 0, memoryview(second.prompt())) == 12, "to within three of 13"


def test_what_was_said_of_a_conversation_is_kept() -> None:
    written = Written()
    for said in (ConversationState.GOES_ON, None, ConversationState.ENDED):
        written.writer(replace(event([1, 2, 3]), conversation=said))
    assert [request.conversation for request in written.requests()] == ["goes_on", None, "ended"]
    assert "conversation" not in written.lines[2]
    broken = [written.lines[0], written.lines[1].replace("goes_on", "over")]
    with pytest.raises(TraceError, match="Line 2: 'conversation' is 'over'; it is goes_on or ended, or left out"):
        [*read(broken)]


def test_who_may_not_share_is_told_apart_but_not_named() -> None:
    written = Written()
    for space in (SPACE, Namespace(SPACE.model, tenant="umbrella"), SPACE):
        written.writer(event([1, 2, 3], space=space))
    a, b, c = written.requests()
    assert a.scope == c.scope != b.scope
    assert "acme" not in "".join(written.lines)


def test_what_is_an_owners_alone_is_told_apart_from_there_on() -> None:
    written = Written()
    parts = (PrivatePart(8, "acme"), PrivatePart(8, "umbrella"), PrivatePart(8, "acme"), PrivatePart(0, "acme"), None)
    for private in parts:
        written.writer(event([5] * 20, private=private))
    acme, umbrella, again, whole, public = (request.prompt() for request in written.requests())
    assert acme == again
    for other in (umbrella, public):
        assert common_with_edge(acme, 0, memoryview(other)) == 8
    assert common_with_edge(acme, 0, memoryview(whole)) == 0
    assert "umbrella" not in "".join(written.lines)


def test_other_events_and_requests_that_were_never_looked_up_are_no_lines() -> None:
    written = Written()
    written.writer(StepFinished(1.0, (), 1))
    given_up = event([1, 2])
    object.__setattr__(given_up, "admitted", None)
    written.writer(given_up)
    assert len(written.lines) == 1


def test_no_token_is_in_the_file_and_another_secret_gives_other_keys() -> None:
    one, other, same = Written(), Written(b"t" * 32), Written()
    for written in (one, other, same):
        written.writer(event([77_777] * 40))
    assert one.lines == same.lines
    keys = [np.concatenate([each.keys for each in written.requests()]) for written in (one, other)]
    assert not set(keys[0].tolist()) & set(keys[1].tolist())
    assert len(set(keys[0].tolist())) == 10, "equal blocks behind different beginnings differ"
    record = json.loads(one.lines[1])
    assert set(record) == {"arrival", "prompt", "output", "scope", "keys"}
    assert "77777" not in one.lines[1]


def test_a_server_that_started_again_goes_on_in_the_same_file() -> None:
    before, after = Written(began=1000.0), Written(b"t" * 32, began=1600.0)
    for written in (before, after):
        written.writer(event([1, 2, 3, 4, 5], now=51.0))
    first, second = read([*before.lines, *after.lines])
    assert second.arrival - first.arrival == 600.0
    assert common_with_edge(first.prompt(), 0, memoryview(second.prompt())) == 0, "its keys have nothing to do with before"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": "!"}, "'keys' are no whole 32-bit numbers"),
        ({"keys": ""}, r"5 \+ 0 tokens have 0 keys of 4 tokens"),
        ({"prompt": -1}, "'prompt' is -1"),
        ({"scope": 3}, "'scope' is 3"),
    ],
)
def test_a_damaged_line_is_named(change: dict[str, object], message: str) -> None:
    written = Written()
    written.writer(event([1, 2, 3, 4, 5]))
    written.lines[1] = json.dumps({**json.loads(written.lines[1]), **change})
    with pytest.raises(TraceError, match=f"Line 2: {message}"):
        written.requests()


def test_a_replay_of_ones_own_engine_comes_to_its_figures() -> None:
    """Token for token where a key is written for each; in the cache alone and in a whole engine."""
    written, accounts = Written(block_tokens=1), []
    relay = EventRelay()
    runner = FakeRunner(CACHE)
    runner.clock.now = 50.0
    engine = fake_engine(CACHE, ONE_AT_A_TIME, runner, relay)
    relay.add(written.writer)
    random = np.random.default_rng(3)
    history: list[list[int]] = [[]]
    for _ in range(80):
        start = history[random.integers(len(history))]
        prompt = [*start[: random.integers(len(start) + 1)], *random.integers(0, 50, random.integers(1, 12)).tolist()]
        params = SamplingParams(max_tokens=int(random.integers(1, 6)), temperature=0)
        asked = engine.add_request(
            EngineRequest(pack_tokens(prompt), params, tenant="acme", use_cache=random.random() < 0.9)
        )
        while engine.has_unfinished_requests():
            engine.step()
        accounts.append(asked.account())
        history = [*history[-5:], [*prompt, *asked.continuations[0].token_ids()]]
        runner.clock.now += 1
    expected = {source: sum(each.by_source.get(source, 0) for each in accounts) for source in Source}
    assert expected[Source.CACHED] > 300
    alone = replay_cache(read(written.lines), CACHE)
    again = EngineReplay(CACHE, ONE_AT_A_TIME, speed=1e-6).run(read(written.lines))
    for result in (alone, again):
        assert {source: result.by_source.get(source, 0) for source in Source} == expected
        assert result.evicted_tokens == engine.usage().evicted_tokens

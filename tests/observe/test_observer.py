import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foreword.account import Drafted, Source
from foreword.errors import ConfigError
from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, StepFinished
from foreword.observe import Observer, ObserverConfig, Reason
from observe.events import Bytes, Requests


def test_every_token_is_counted_once_and_every_request_has_one_reason() -> None:
    observer, requests = Observer(), Requests()
    for prompt in ("Rules. Ask Ann.", "Rules. Ask Bob.", "Rules. Ask Bob."):
        observer(requests.run(prompt))
    counts = observer.counts()
    assert (counts.requests, counts.account.prompt_tokens, counts.account.unprocessed) == (3, 45, 0)
    brought = {source: tokens for source, tokens in counts.account.by_source.items() if tokens}
    assert brought == {Source.CACHED: 11 + 14, Source.COMPUTED: 15 + 4 + 1}
    assert counts.hit_rate == 25 / 45
    assert counts.requests_by_reason == {"first_seen": 1, "diverged": 1, "complete": 1}
    assert counts.missed_tokens_by_reason == {"first_seen": 15, "diverged": 4, "complete": 1}
    assert counts.requests_by_outcome == {"stop": 3}


def test_drafts_of_all_requests_add_up_by_drafter() -> None:
    observer, requests = Observer(), Requests()
    for drafts in ({"tree": Drafted(5, 3)}, {"tree": Drafted(2, 2), "form": Drafted(4, 4)}, {}):
        request = requests.run("Rules.")
        observer(replace(request, account=replace(request.account, drafts=drafts)))
    account = observer.counts().account
    assert account.drafts == {"tree": Drafted(7, 5), "form": Drafted(4, 4)}
    assert (account.in_tokens()["drafted"], account.in_tokens()["accepted"]) == (11, 9)


def test_finer_reasons_are_found_when_asked_for_and_counted_once() -> None:
    observer, requests = Observer(), Requests()
    for minute in range(30, 35):
        observer(requests.run(f"It is 12:{minute}. Be kind."))
    assert observer.counts().requests_by_reason == {"first_seen": 1, "diverged": 4}
    assert observer.classify(Bytes(), limit=2) == 3
    assert observer.classify(Bytes()) == 0
    assert observer.classify(Bytes()) == 0
    assert observer.counts().requests_by_reason == {"first_seen": 1, Reason.VOLATILE_VALUE.value: 4}
    assert sum(observer.counts().missed_tokens_by_reason.values()) == observer.counts().account.computed


def test_what_was_forgotten_is_not_classified() -> None:
    observer, requests = Observer(ObserverConfig(recent_requests=2)), Requests()
    for minute in range(30, 40):
        observer(requests.run(f"It is 12:{minute}. Be kind."))
    assert observer.classify(Bytes()) == 0
    assert sum(observer.counts().requests_by_reason.values()) == 10


def test_random_prompts_read_no_hits() -> None:
    observer, requests, source = Observer(), Requests(num_blocks=64), random.Random(1)
    for _ in range(200):
        observer(requests.run([source.randrange(2**31) for _ in range(100)]))
    counts = observer.counts()
    assert (counts.account.reused, counts.hit_rate) == (0, 0.0)
    assert observer.curve([10**6]).unlimited == 0
    assert observer.savings().tokens == 0
    assert observer.near_twins() == ()
    assert all(prefix.saved_tokens == 0 for prefix in observer.prefixes())


def test_the_events_of_cache_and_steps() -> None:
    observer = Observer()
    events: list[Event] = [
        BlockStored(b"", 0, bytes(40), (1,)),
        BlockRemoved(b"", 0, 4, (1,)),
        AllBlocksCleared(),
        *(StepFinished(0.005 * tokens, ((0, tokens),), 0) for tokens in (50, 100, 200, 400)),
    ]
    for event in events:
        observer(event)
    counts = observer.counts()
    assert (counts.stored_tokens, counts.removed_tokens, counts.resets, counts.requests) == (10, 4, 1, 0)
    assert observer.savings().cost_model.prefill_seconds(200, 200 * 199 // 2) == pytest.approx(1.0, rel=0.02)


def test_whoever_asks_gets_an_answer_from_all_events_so_far() -> None:
    """Events are digested some at a time: here all of them wait, whatever is asked for first."""
    requests = Requests()
    head = "The rules are these and no others, for all who come here and ask: be kind, be brief, and be of help to them. "
    events = [requests.run(f"{stamp:08x} {head}") for stamp in (0x12345678, 0x9ABCDEF0)]
    questions: list[Callable[[Observer], object]] = [
        lambda observer: observer.counts().requests == 2,
        lambda observer: observer.curve([100]).prompt_tokens == sum(len(event.tokens) // 4 for event in events),
        lambda observer: len(observer.prefixes()) == 2,
        lambda observer: len(observer.near_twins()) == 1,
        lambda observer: observer.savings().prompt_tokens > 0,
        lambda observer: len(observer.recent) == 2,
        lambda observer: observer.explain(events[1].request_id).nearest,
        lambda observer: observer.reason(events[0].request_id) is Reason.FIRST_SEEN,
        lambda observer: observer.classify(Bytes(), limit=1) == 1,
    ]
    for question in questions:
        observer = Observer()
        for event in events:
            observer(event)
        assert question(observer)


def test_events_do_not_wait_for_ever() -> None:
    observer = Observer()
    for _ in range(1000):
        observer(AllBlocksCleared())
    assert observer.waiting < 100
    assert observer.counts().resets == 1000


def test_memory_is_bounded_by_many_distinct_prefixes() -> None:
    config = ObserverConfig(recent_requests=50, prefix_nodes=100, curve_samples=200)
    observer, requests = Observer(config), Requests(num_blocks=64)
    for number in range(5000):
        observer(requests.run([number, *range(20)]))
    assert len(observer.recent) == 50
    assert 50 <= len(observer.prefixes(10**6)) <= 100
    assert 100 <= observer.curve([]).followed_tokens <= 200
    assert observer.classify(Bytes(), limit=0) <= 50
    assert len(observer.near_twins()) <= config.twin_groups


@pytest.mark.parametrize(
    ("name", "value"), [("recent_requests", 0), ("curve_samples", -1), ("minimum_tokens", -1), ("curve_sizes", (64, 0))]
)
def test_options_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name} is {value}")):
        ObserverConfig(**{name: value})

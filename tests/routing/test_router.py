"""The router: who is chosen and why; who may join; and the faults that routers are known for, one scenario each."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from foreword.errors import ConfigError, Overloaded, ParameterError, PromptTooLong
from foreword.routing import Cleared, Measured, Removed, RoutedRequest, Router, RouterConfig, Stored, Why
from routing.fleet import FACTS, MODEL, TestFleet, other, prompt


def test_a_request_goes_where_its_prefix_is() -> None:
    fleet = TestFleet()
    fleet.has("c", prompt("chat"))
    placed = fleet.send(prompt("chat"))
    assert (placed.replica, placed.why, placed.cached, placed.holder) == ("c", Why.PREFIX, 1600, "c")
    assert placed.seconds().keys() == set("abcd")


def test_unless_more_work_waits_there_than_is_saved() -> None:
    fleet = TestFleet()
    fleet.has("c", prompt("chat"))
    fleet.queue("c", seconds=14.0)
    placed = fleet.send(prompt("chat"))
    assert placed.why is Why.SPREAD and placed.replica != "c"
    assert (placed.holder, placed.available) == ("c", 1600)
    assert placed.holder_queue_seconds == pytest.approx(14.0, rel=0.01)  # "held by c, which had 14 s of work queued"


def test_a_prefix_on_a_lower_tier_is_loaded_where_that_is_quicker() -> None:
    for load_rate, why in ((10_000.0, Why.PREFIX), (500.0, Why.COLD)):
        fleet = TestFleet(facts=replace(FACTS, load_rate=load_rate))
        fleet.router.apply("b", 0, [Stored(prompt("chat"), medium="STORAGE")])
        placed = fleet.send(prompt("chat"))
        assert placed.why is why
        if why is Why.PREFIX:
            assert (placed.replica, placed.cached, placed.loadable) == ("b", 0, 1600)
            assert placed.load_seconds == pytest.approx(0.16)


def test_a_prefix_on_disk_goes_before_none_and_behind_one_in_memory() -> None:
    fleet = TestFleet(facts=replace(FACTS, load_rate=10_000.0))
    fleet.router.apply("b", 0, [Stored(prompt("chat"), medium="STORAGE")])
    placed = fleet.send(prompt("chat"))
    assert (placed.replica, placed.why, placed.cached, placed.loadable) == ("b", Why.PREFIX, 0, 1600)
    fleet.answer(placed)
    fleet.has("c", prompt("chat"))
    placed = fleet.send(prompt("chat"))
    assert (placed.replica, placed.why, placed.cached, placed.loadable) == ("c", Why.PREFIX, 1600, 0)
    fleet.answer(placed)
    fleet.router.apply("c", 1, [Removed(prompt("chat")[::-1])])
    assert fleet.send(prompt("chat")).replica == "b"
    fleet.router.apply("b", 1, [Removed(prompt("chat")[::-1], medium="STORAGE")])
    assert fleet.send(prompt("chat"), avoid="b").why is Why.COLD


@pytest.mark.parametrize("store", [None, "s3"])
def test_a_snapshot_is_all_that_a_replicas_own_disk_has_but_not_all_of_a_shared_store(store: str | None) -> None:
    fleet = TestFleet(facts=replace(FACTS, load_rate=10_000.0, store=store))
    fleet.router.apply("b", 0, [Stored(prompt("chat"), medium="STORAGE")])
    fleet.router.snapshot("b", 0, [Stored(prompt("other"), medium="STORAGE")])
    assert fleet.send(prompt("other")).loadable == 1600
    assert fleet.send(prompt("chat")).loadable == (0 if store is None else 1600)


def test_what_a_shared_store_has_every_replica_can_load() -> None:
    fleet = TestFleet(facts=replace(FACTS, load_rate=10_000.0, store="s3"))
    fleet.router.apply("b", 0, [Stored(prompt("chat"), medium="STORAGE")])
    fleet.queue("b", seconds=5.0)
    placed = fleet.send(prompt("chat"))
    assert placed.replica != "b" and placed.loadable == 1600
    fleet.router.died("b", fleet.now)
    assert fleet.send(prompt("chat")).loadable == 1600


def shared_fleet(load_rate: float) -> TestFleet:
    """Of three replicas over one store; ``a`` computed a chat and stored it, ``b`` has measured how fast loading is."""
    fleet = TestFleet(3, facts=replace(FACTS, store="s3"))
    chat = prompt("chat")
    fleet.router.apply("a", 0, [Stored(chat), Stored(chat, medium="STORAGE")])
    fleet.router.apply("b", 0, [Measured(load_rate)])
    return fleet


@pytest.mark.parametrize(
    ("load_rate", "busy", "goes_to_holder"),
    [
        (20_000.0, 0.0, True),
        (20_000.0, 0.05, True),  # loading takes 0.08 s
        (20_000.0, 0.2, False),
        (2_000.0, 0.2, True),  # loading takes 0.8 s
        (2_000.0, 2.0, False),
        (900.0, 1.0, True),  # computing takes less time than loading: 1.6 s, which others would wait for
    ],
)
def test_a_holder_is_worth_what_loading_costs_elsewhere(load_rate: float, busy: float, goes_to_holder: bool) -> None:
    fleet = shared_fleet(load_rate)
    if busy:
        fleet.queue("a", seconds=busy)
    placed = fleet.send(prompt("chat"))
    assert (placed.replica == "a") is goes_to_holder
    if not goes_to_holder:
        assert (placed.why, placed.cached, placed.loadable, placed.store) == (Why.PREFIX, 0, 1600, "s3")
        assert placed.load_seconds == pytest.approx(1600 / load_rate)


def test_a_chat_that_only_a_store_has_goes_to_the_least_loaded() -> None:
    fleet = shared_fleet(20_000.0)
    fleet.router.apply("a", 1, [Removed(prompt("chat")[::-1])])
    fleet.queue("a", seconds=1.0)
    fleet.queue("b", seconds=0.5)
    placed = fleet.send(prompt("chat"))
    assert (placed.replica, placed.loadable, placed.available) == ("c", 1600, 1600)


def test_what_a_store_has_outlives_who_stored_it_and_is_known_until_someone_misses_it() -> None:
    fleet = shared_fleet(20_000.0)
    fleet.router.died("a", fleet.now)
    fleet.router.join("d", replace(FACTS, store="s3"))
    assert fleet.send(prompt("chat"), avoid="bc").loadable == 1600, "it loads as fast as others of its store"
    fleet.router.apply("c", 0, [Removed(prompt("chat")[50:], medium="STORAGE")])
    assert fleet.send(prompt("chat"), avoid="cd").loadable == 800, "what one finds gone is gone for all"


def test_who_has_measured_nothing_loads_as_fast_as_others_of_its_store_and_no_others() -> None:
    fleet, chat = TestFleet(2, facts=replace(FACTS, store="s3")), prompt("chat")
    fleet.router.join("z", replace(FACTS, store="another"))
    for name in "az":
        fleet.router.apply(name, 0, [Stored(chat, medium="STORAGE")])

    def seconds() -> list[float]:
        """To load the chat, of each replica."""
        places = [fleet.send(chat, avoid="abz".replace(name, "")) for name in "abz"]
        for place in places:
            fleet.router.finished(place.reservation.request_id, fleet.now)
        return [round(place.load_seconds, 6) for place in places]

    assert seconds() == [0, 0, 0], "nobody has"
    fleet.router.apply("a", 1, [Measured(5_000.0)])
    assert seconds() == [0.32, 0.32, 0]
    fleet.router.apply("b", 0, [Measured(10_000.0)])
    fleet.router.apply("a", 2, [Measured(4_000.0)])
    assert seconds() == [0.4, 0.16, 0]


def test_so_many_blocks_of_stores_are_known_at_a_time() -> None:
    fleet = TestFleet(2, RouterConfig(stored_blocks=150), replace(FACTS, store="s3", load_rate=10_000.0))
    known: list[int] = []
    for name in ("one", "two", "three"):
        fleet.router.apply("a", len(known), [Stored(prompt(name), medium="STORAGE")])
        known.append(fleet.router.stats(0.0).stored_blocks)
    assert known == [100, 0, 100]
    assert fleet.send(prompt("three")).loadable == 1600


def test_equal_cold_prompts_are_computed_once() -> None:
    fleet = TestFleet()
    placed = [fleet.send(prompt("chat")) for _ in range(8)]
    assert len({each.replica for each in placed}) == 1
    assert [each.expected for each in placed] == [0, *[1600] * 7]
    assert fleet.router.stats(0.0).tally.shared_flights == 7


def test_a_replica_that_runs_all_it_can_takes_no_more_than_pays() -> None:
    fleet = TestFleet()
    fleet.has("a", prompt("chat"))
    for _ in range(16):  # each is answered for a minute
        placed = fleet.send(prompt("chat"))
        fleet.router.started(placed.reservation.request_id, placed.cached, fleet.now)
        if fleet.sent == 1:
            fleet.now += 60.0
            fleet.router.finished(placed.reservation.request_id, fleet.now)
    found = Counter(name for name in fleet.names for _ in range(fleet.router.stats(fleet.now).replicas[name].running))
    assert 8 <= found["a"] <= 9 and found.total() == 15  # it runs 8; the ninth's prefix is worth a wait


def test_death_spiral_a_miss_goes_to_the_least_loaded() -> None:
    """sglang#14305: it went to the worker with the smallest tree, though that had most to do."""
    fleet = TestFleet()
    for name in "abc":
        fleet.has(name, prompt(f"much of {name}", 1000))
    fleet.queue("d", seconds=3.0)  # it has the fewest blocks
    assert {fleet.send(prompt(f"cold {number}")).replica for number in range(3)} == set("abc")


def test_replica_0_does_not_get_all_at_low_load() -> None:
    """sglang#32983."""
    fleet = TestFleet(config=RouterConfig(balance=0.0))
    found: Counter[str] = Counter()
    for number in range(400):
        placed = fleet.send(prompt(f"cold {number}"))
        fleet.answer(placed)
        fleet.now += 10.0
        found[placed.replica] += 1
    assert min(found[name] for name in fleet.names) > 70


def test_work_evens_out_over_time() -> None:
    fleet = TestFleet()
    for number in range(400):
        fleet.answer(fleet.send(prompt(f"cold {number}", 10 + number % 90)))
        fleet.now += 1.0
    assert fleet.router.stats(fleet.now).imbalance < 1.05


def test_who_joins_late_is_taken_to_have_had_its_share_of_the_work_of_late() -> None:
    fleet = TestFleet(replicas=3)
    for number in range(400):
        if number == 300:
            fleet.router.join("late", FACTS)
        fleet.answer(fleet.send(prompt(f"cold {number}")))
        fleet.now += 5.0
    placed = {name: stats.placed for name, stats in fleet.router.stats(fleet.now).replicas.items()}
    assert 20 <= placed["late"] <= 80 and min(placed[name] for name in "abc") >= 100


def test_imbalance_does_not_throw_locality_away() -> None:
    """sglang#32195: with one replica far behind, the others still get what they have."""
    fleet = TestFleet()
    for name in fleet.names:
        fleet.has(name, prompt(name))
    fleet.queue("a", seconds=60.0)
    assert [fleet.send(prompt(name)).replica for name in "bcd"] == list("bcd")


def test_a_hot_prefix_spreads() -> None:
    """production-stack#1035: it overloaded one engine."""
    fleet = TestFleet()
    fleet.has("a", prompt("hot"))
    tails = [np.concatenate((prompt("hot"), prompt(f"question {number}", 50))) for number in range(60)]
    placed = [fleet.send(tail) for tail in tails]
    assert placed[0].replica == "a"
    stats = fleet.router.stats(fleet.now)
    assert {each.replica for each in placed} == set("abcd")
    assert stats.imbalance < 1.3
    assert sum(each.cached == each.expected == 0 for each in placed) == 3  # the others computed it once each


def test_a_silent_publisher_is_told_and_routing_goes_on_by_what_was_placed() -> None:
    """dynamo#11194: it fell back without a word."""
    fleet = TestFleet(config=RouterConfig(silent_after=3))
    for number in range(4):
        fleet.answer(fleet.send(prompt(f"chat {number}"), avoid="bcd"), cached=0)
    stats = fleet.router.stats(fleet.now).replicas["a"]
    assert stats.silent and stats.wants_snapshot is not None and "no event" in stats.wants_snapshot
    assert fleet.send(prompt("chat 3")).replica == "a"
    fleet.router.snapshot("a", -1, [Stored(prompt("chat 0"))])
    stats = fleet.router.stats(fleet.now).replicas["a"]
    assert not stats.silent and stats.wants_snapshot is None and stats.blocks == 100


def test_a_lost_batch_is_told_and_mended_by_a_snapshot_taken_while_others_come() -> None:
    fleet, (p, q, r) = TestFleet(), [prompt(name) for name in "pqr"]
    assert fleet.router.apply("a", 0, [Stored(p)]).wants_snapshot is None
    told = fleet.router.apply("a", 2, [Stored(q)]).wants_snapshot  # batch 1 took p away
    assert told is not None and "1 to 1" in told
    fleet.router.apply("a", 3, [Stored(r)])  # comes after the snapshot was made
    assert fleet.router.snapshot("a", 2, [Stored(q)]).wants_snapshot is None
    assert [fleet.send(each).cached for each in (p, q, r)] == [0, 1600, 1600]
    assert fleet.router.apply("a", 4, []).wants_snapshot is None


def test_a_snapshot_older_than_what_is_kept_is_not_taken() -> None:
    fleet = TestFleet()
    fleet.router.apply("a", 0, [Stored(prompt("p"))])
    fleet.router.apply("a", 1, [Stored(prompt("q"))])
    answer = fleet.router.snapshot("a", 0, [Stored(prompt("p"))])
    assert answer.ignored and answer.wants_snapshot is not None
    assert fleet.router.stats(0.0).replicas["a"].blocks == 200
    assert fleet.router.snapshot("a", 1, []).wants_snapshot is None
    assert fleet.router.stats(0.0).replicas["a"].blocks == 0


def test_a_doubled_batch_changes_nothing() -> None:
    fleet, chat = TestFleet(), prompt("chat")
    fleet.router.apply("a", 0, [Stored(chat)])
    fleet.router.apply("a", 1, [Removed(chat[50:])])
    assert fleet.router.apply("a", 1, [Stored(chat)]).ignored
    stats = fleet.router.stats(0.0).replicas["a"]
    assert (stats.blocks, stats.events.doubled, stats.wants_snapshot) == (50, 1, None)


def test_batches_that_begin_anew_are_a_restart() -> None:
    fleet = TestFleet()
    for sequence in range(3):
        fleet.router.apply("a", sequence, [Stored(prompt(str(sequence)))])
    assert fleet.router.apply("a", 0, [Stored(prompt("new"))]).wants_snapshot is not None
    assert fleet.router.snapshot("a", 0, [Stored(prompt("new"))]).wants_snapshot is None
    assert fleet.router.stats(0.0).replicas["a"].blocks == 100


@pytest.mark.parametrize(
    ("bad", "counted"),
    [
        (Stored(prompt("tail"), parent=7), "unknown_parents"),
        (Removed(prompt("never stored")), "unknown_removals"),
        (Stored(np.zeros(3, np.uint64)), "garbage"),
        (Stored(np.array([1.5])), "garbage"),
        (Removed("hashes"), "garbage"),  # type: ignore[arg-type]
        ("no event", "garbage"),
    ],
)
def test_one_bad_event_clears_nothing(bad: object, counted: str) -> None:
    """dynamo#6569: it cleared a worker's index."""
    fleet = TestFleet()
    fleet.has("b", prompt("chat"))
    fleet.router.apply("a", 0, [Stored(prompt("chat"))])
    told = fleet.router.apply("a", 1, [bad, Stored(prompt("good"))])  # type: ignore[list-item]
    stats = fleet.router.stats(0.0).replicas
    assert told.wants_snapshot is not None
    assert getattr(stats["a"].events, counted) >= 1
    assert stats["a"].blocks >= 200 and stats["b"].blocks == 100
    assert fleet.send(prompt("good")).replica == "a"


def test_a_reset_clears_only_the_replica_that_told_of_it() -> None:
    fleet = TestFleet()
    for name in "ab":
        fleet.router.apply(name, 0, [Stored(prompt("chat"))])
    fleet.router.apply("a", 1, [Cleared()])
    assert [fleet.router.stats(0.0).replicas[name].blocks for name in "ab"] == [0, 100]


def test_a_dead_replica_returns_its_requests() -> None:
    fleet = TestFleet(replicas=2)
    fleet.has("a", prompt("chat"))
    started, waits = fleet.send(prompt("chat")), fleet.send(prompt("chat"))
    assert {started.replica, waits.replica} == {"a"}
    fleet.router.started(started.reservation.request_id, 1600, fleet.now)
    lost = fleet.router.died("a", fleet.now)
    assert [(each.request_id, each.started) for each in lost] == [("request-1", True), ("request-2", False)]
    assert fleet.send(prompt("chat")).replica == "b"
    fleet.router.join("a", FACTS)
    fleet.queue("b", seconds=5.0)
    again = fleet.send(prompt("chat"))
    assert (again.replica, again.cached) == ("b", 0) or again.replica == "a"
    assert fleet.router.stats(0.0).replicas["a"].blocks == 0


def test_a_replica_that_leaves_ends_what_it_has() -> None:
    fleet = TestFleet(replicas=2)
    fleet.has("a", prompt("chat"))
    placed = fleet.send(prompt("chat"))
    fleet.router.leave("a")
    assert fleet.send(prompt("chat")).replica == "b"
    assert "a" in fleet.router.stats(0.0).replicas
    fleet.answer(placed)
    assert list(fleet.router.stats(0.0).replicas) == ["b"]


def test_a_replica_that_hangs_does_not_look_idle() -> None:
    fleet = TestFleet(replicas=2)
    stuck = fleet.send(prompt("stuck")).replica
    fleet.now = 30.0
    assert fleet.router.stats(30.0).replicas[stuck].queue_seconds > 20.0
    assert {fleet.send(prompt(f"cold {n}")).replica for n in range(5)} == set("ab") - {stuck}


@pytest.mark.parametrize("field", ["weights", "kv_dtype", "block_size", "canary"])
def test_another_model_cannot_join(field: str) -> None:
    fleet = TestFleet()
    with pytest.raises(ConfigError, match=rf"'new' cannot join: its {field} is "):
        fleet.router.join("new", other(**{field: 32 if field == "block_size" else "another"}))
    assert "new" not in fleet.router.stats(0.0).replicas


def test_facts_that_no_replica_can_have_are_refused() -> None:
    for facts in (replace(FACTS, prefill_rate=0.0), replace(FACTS, concurrency=0), replace(FACTS, max_tokens=0)):
        with pytest.raises(ConfigError, match=r"'x' says \w+ is 0"):
            Router().join("x", facts)


def test_without_a_replica_a_client_is_told_when_to_come_back() -> None:
    with pytest.raises(Overloaded, match="No replica is ready") as told:
        Router().select(RoutedRequest("x", prompt("chat"), 1601), 0.0)
    assert told.value.retry_after > 0
    fleet = TestFleet(replicas=1)
    with pytest.raises(Overloaded):
        fleet.send(prompt("chat"), avoid="a")


def test_a_prompt_too_long_for_all_is_refused_and_a_long_one_goes_where_it_fits() -> None:
    fleet = TestFleet()
    with pytest.raises(PromptTooLong, match="1000001 tokens; the largest replica takes 100000"):
        fleet.send(prompt("long", 62_500))
    fleet.router.join("large", replace(FACTS, max_tokens=2_000_000))
    assert fleet.send(prompt("long", 62_500)).replica == "large"


def test_names_that_are_unknown_or_taken_are_errors() -> None:
    fleet = TestFleet(replicas=2)
    with pytest.raises(ParameterError, match="'z' has not joined; these have: a, b"):
        fleet.router.apply("z", 0, [])
    with pytest.raises(ParameterError, match="'a' has joined before"):
        fleet.router.join("a", FACTS)
    placed = fleet.send(prompt("chat"))
    with pytest.raises(ParameterError, match="'request-1' has a place"):
        fleet.router.select(RoutedRequest("request-1", prompt("chat"), 1601), 0.0)
    fleet.answer(placed)
    before = fleet.router.stats(0.0)
    fleet.router.started("request-1", 0, 0.0)
    fleet.router.finished("request-1", 0.0)
    assert fleet.router.stats(0.0) == before


def test_a_router_that_was_killed_decides_as_before_after_a_snapshot() -> None:
    before, after = TestFleet(), Router(identity=MODEL)
    for number in range(40):
        before.router.apply("abcd"[number % 4], number // 4, [Stored(prompt(f"chat {number}"))])
    for name in before.names:
        after.join(name, FACTS)
        after.snapshot(name, 9, [Stored(prompt(f"chat {number}")) for number in range(40) if "abcd"[number % 4] == name])
    for number in range(60):
        question = RoutedRequest(f"request {number}", prompt(f"chat {number}"), 1601)
        assert before.router.select(question, 0.0).replica == after.select(question, 0.0).replica

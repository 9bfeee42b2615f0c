"""The tiers below an engine, with a real store in a folder: what comes back after a restart, and what does not."""

import itertools
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from foreword import LLM, SamplingParams
from foreword.account import MissReason, Source
from foreword.cache import LoadBlocks, Namespace, Query, StoreBlocks, Stored
from foreword.engine.load_rule import LoadRule
from foreword.engine.pacing import Pace
from foreword.engine.tier import Found, Loaded, PutAway, TierNews
from foreword.engine.tiering import Tiering, TierStore
from foreword.errors import ConfigError
from foreword.outputs import RequestOutput
from foreword.testing.faulty_store import Fault, FaultyStore
from foreword.testing.hash_kv import MODEL
from foreword.tiers.base import BlockKey, BlockStore, Outcome, Pieces, StoreUsage
from foreword.tokens import pack_tokens

GREEDY = SamplingParams(max_tokens=4, temperature=0)
PREFIX = "The table of names and cities. " * 10
SPACE = Namespace(MODEL)
TOKENS = pack_tokens(range(12))


def ask(llm: LLM, question: str) -> RequestOutput:
    (output,) = llm.generate(PREFIX + question, GREEDY, use_tqdm=False)
    return output


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A folder that an engine has left behind, and what it answered to the question "a"."""
    folder = tmp_path_factory.mktemp("store")
    with LLM(store=str(folder), kv_cache_memory_bytes=2**26) as llm:
        answer = ask(llm, "a").outputs[0].token_ids
        assert ask(llm, "b").account.cached >= 144
    return folder, answer


def test_the_first_request_after_a_restart_is_loaded_and_says_the_same(stored: tuple[Path, list[int]]) -> None:
    folder, answer = stored
    with LLM(store=str(folder), kv_cache_memory_bytes=2**26) as llm:
        output = ask(llm, "a")
        assert output.outputs[0].token_ids == answer
        assert output.account.by_source[Source.STORED_LOCAL] >= output.account.prompt_tokens // 16 * 16 - 16
        assert output.num_cached_tokens == output.account.stored


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8"])
def test_what_comes_back_has_the_bits_of_what_is_computed(kv_dtype: str, tmp_path: Path) -> None:
    with LLM(store=str(tmp_path), kv_dtype=kv_dtype, kv_cache_memory_bytes=2**26) as llm:
        ask(llm, "a")
    with LLM(store=str(tmp_path), kv_dtype=kv_dtype, kv_cache_memory_bytes=2**26, verify_cache=1.0) as llm:
        assert ask(llm, "b").account.stored >= 128
        report = llm.engine.verify_report()
        assert (report.checked, report.values_differing, report.logits_differing) == (1, 0, 0)
        assert report.values_compared > 0


@pytest.mark.parametrize("changed", [{"kv_dtype": "bfloat16"}, {"quantization": "int8"}, {"block_size": 32}])
def test_what_another_engine_stored_is_not_found(stored: tuple[Path, list[int]], changed: dict[str, object]) -> None:
    with LLM(store=str(stored[0]), kv_cache_memory_bytes=2**26, **changed) as llm:  # type: ignore[arg-type]
        assert ask(llm, "a").account.stored == 0


def test_a_salt_keeps_apart_in_the_store_too(stored: tuple[Path, list[int]]) -> None:
    with LLM(store=str(stored[0]), kv_cache_memory_bytes=2**26) as llm:
        (output,) = llm.generate({"prompt": PREFIX + "a", "cache_salt": "other"}, GREEDY, use_tqdm=False)
        assert output.account.stored == 0


def test_a_folder_that_cannot_be_used_is_told_and_the_rest_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    with LLM(store=str(tmp_path / "file"), kv_cache_memory_bytes=2**26) as llm:
        assert ask(llm, "a").outputs[0].token_ids
    assert any("is off" in record.getMessage() for record in caplog.records)


def test_blocks_that_are_too_small_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        LLM(store=str(tmp_path), block_size=8, kv_cache_memory_bytes=2**26)


class Shelf:
    """A store in memory, of blocks of one piece. It can be told to be slow, or what becomes of what is read."""

    def __init__(self, outcome: Outcome = Outcome.FOUND, seconds: float = 0.0):
        self.kept: dict[bytes, bytes] = {}
        self.deleted: list[bytes] = []
        self.asked_to_keep = 0.0
        self._outcome = outcome
        self._seconds = seconds

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        return [name in self.kept for name in names]

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        time.sleep(self._seconds)
        for key, (piece,) in zip(keys, into, strict=True):
            piece[:] = self.kept[key.name]
        return [Outcome.FOUND] * (len(keys) - 1) + [self._outcome]

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        self.asked_to_keep = keep_until
        self.kept.update((key.name, bytes(piece)) for key, (piece,) in zip(keys, blocks, strict=True))
        return len(keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        self.deleted += names
        return len(names)

    def flush(self) -> None:
        """All is there at once."""

    def usage(self) -> StoreUsage:
        return StoreUsage()

    def close(self) -> None:
        """Nothing is open."""


class Under:
    """A tiering over one store, with three blocks of memory of four tokens and one byte each."""

    def __init__(self, store: BlockStore, queue_blocks: int = 10, pace: Pace | None = None):
        self.memory = bytearray(b"abc")
        view = memoryview(self.memory)
        stores = [TierStore(Source.STORED_LOCAL, store)]
        self.tiering = Tiering(stores, lambda block: [view[block : block + 1]], 4, queue_blocks, pace=pace)

    def next(self) -> TierNews:
        """What comes next, within a minute."""
        end = time.monotonic() + 60
        while not (news := self.tiering.news()):
            assert time.monotonic() < end
            time.sleep(0.001)
        (one,) = news
        return one

    def store(self) -> TierNews:
        self.tiering.begin(StoreBlocks(SPACE, None, TOKENS, 0, _blocks(0, 1, 2)))
        return self.next()

    def load(self) -> LoadBlocks:
        load = LoadBlocks(SPACE, None, TOKENS, 0, _blocks(0, 1, 2), (Stored(12, Source.STORED_LOCAL),))
        self.memory[:] = b"..."
        self.tiering.begin(load)
        return load


def _blocks(*numbers: int) -> "array[int]":
    return array("i", numbers)


@pytest.fixture
def under(request: pytest.FixtureRequest) -> Iterator[Under]:
    under = Under(getattr(request, "param", None) or Shelf())
    yield under
    under.tiering.close(5.0)


def test_what_is_stored_is_found_and_loaded(under: Under) -> None:
    news = under.store()
    assert isinstance(news, PutAway)
    assert news.until == 12
    under.tiering.look_up(7, Query(SPACE, TOKENS + TOKENS))
    assert under.tiering.awaited() is True
    assert under.next() == Found(7, (Stored(12, Source.STORED_LOCAL),))
    load = under.load()
    assert under.next() == Loaded(load, 12)
    assert bytes(under.memory) == b"abc"
    assert under.tiering.awaited() is False


@pytest.mark.parametrize(
    ("under", "reason"),
    [
        (Shelf(Outcome.CORRUPT), MissReason.STORED_CORRUPT),
        (Shelf(Outcome.OTHER), MissReason.STORED_OTHER_IDENTITY),
        (Shelf(Outcome.MISSING), MissReason.LOAD_FAILED),
        (Shelf(Outcome.FAILED), MissReason.LOAD_FAILED),
    ],
    indirect=["under"],
)
def test_a_load_ends_where_a_block_does_not_come_and_says_why(under: Under, reason: MissReason) -> None:
    under.store()
    load = under.load()
    assert under.next() == Loaded(load, 8, reason)


def test_a_store_that_raises_brings_nothing_and_ends_nothing() -> None:
    under = Under(FaultyStore(Shelf(), lambda method: None if method in ("flush", "usage", "close") else Fault.RAISES))
    news = under.store()
    assert isinstance(news, PutAway)
    assert news.until == 0
    under.tiering.look_up(7, Query(SPACE, TOKENS))
    assert under.next() == Found(7, ())
    load = under.load()
    assert under.next() == Loaded(load, 0)
    under.tiering.close(5.0)


def test_what_finds_no_place_in_the_queue_is_given_back() -> None:
    under = Under(Shelf(), queue_blocks=0)
    news = under.store()
    assert isinstance(news, PutAway)
    assert news.until == 0
    under.tiering.close(5.0)


def test_at_the_end_all_is_stored_however_full_the_queue() -> None:
    shelf = Shelf()
    under = Under(shelf, queue_blocks=0)
    under.tiering.close(5.0, [StoreBlocks(SPACE, None, TOKENS, 0, _blocks(0, 1, 2))])
    assert sorted(shelf.kept.values()) == [b"a", b"b", b"c"]


def test_at_the_end_storing_gives_way_to_nobody() -> None:
    shelf, hours = Shelf(), itertools.count(0, 3600)
    under = Under(shelf, pace=Pace(spent=lambda: float(next(hours))))
    with under.tiering.giving_way():
        under.tiering.begin(StoreBlocks(SPACE, None, TOKENS, 0, _blocks(0, 1, 2)))
        under.tiering.close(5.0)
    assert sorted(shelf.kept.values()) == [b"a", b"b", b"c"]


def seconds_waited(queue_blocks: int, stores: int) -> float:
    """How long who stores three blocks some times waits for its turns, beside a step; each takes a second."""
    now, spent = [0.0], itertools.count(0.0)

    def wait(seconds: float) -> None:
        now[0] += seconds

    under = Under(Shelf(), queue_blocks, Pace(lambda: now[0], lambda: next(spent), wait))
    with under.tiering.giving_way():
        for _ in range(stores):
            under.store()
    under.tiering.close(5.0)
    return now[0]


def test_storing_gives_way_the_less_the_fuller_its_queue() -> None:
    assert seconds_waited(queue_blocks=3, stores=1) < seconds_waited(queue_blocks=6, stores=1) / 10


def test_what_is_stored_has_left_the_queue() -> None:
    """Three of six blocks are no hurry, however many came before."""
    assert seconds_waited(queue_blocks=6, stores=4) == pytest.approx(seconds_waited(queue_blocks=600, stores=4))


class Panic(BaseException):
    """As native code raises it."""


class Panicking(Shelf):
    """Its look-ups end in native code."""

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        raise Panic(len(names))


def test_a_panic_of_native_code_leaves_nobody_waiting() -> None:
    under = Under(Panicking())
    under.tiering.look_up(7, Query(SPACE, TOKENS))
    assert under.next() == Found(7, ())
    under.tiering.close(5.0)


def test_options_of_stores_without_a_store_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LLM(store_key_file=str(tmp_path / "key"), kv_cache_memory_bytes=2**26):
        assert any("do nothing" in record.getMessage() for record in caplog.records)


def test_computing_goes_before_a_load_that_takes_longer() -> None:
    rule = LoadRule()
    assert not rule.is_slower(Source.STORED_LOCAL)
    rule.computed(1000, 1.0)
    rule.loaded(Source.STORED_LOCAL, 1000, 10.0)
    assert not rule.is_slower(Source.STORED_SHARED)
    told = [rule.is_slower(Source.STORED_LOCAL) for _ in range(20)]
    assert told == [True] * 19 + [False]
    for _ in range(20):
        rule.loaded(Source.STORED_LOCAL, 1000, 0.1)
    assert not rule.is_slower(Source.STORED_LOCAL)


def test_steps_of_few_tokens_say_nothing_of_prompts() -> None:
    rule = LoadRule()
    rule.computed(8, 1.0)
    assert rule.seconds_to_compute(100) == float("inf")
    rule.computed(100, 1.0)
    assert rule.seconds_to_compute(100) == 1.0

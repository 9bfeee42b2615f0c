"""A cache's events on the wire, read by a decoder that was written from the format's description."""

import io
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import zmq

from cache.harness import Machine
from cache.test_properties import Life
from foreword.cache import CacheConfig, Namespace, PrivatePart
from foreword.errors import ConfigError
from foreword.events import BlockRemoved, BlockStored, StoreAnswered
from foreword.serving.kv_publisher import SNAPSHOT, KVEventPublisher, KVSockets
from foreword.serving.log import make_log
from foreword.testing.hash_kv import MODEL
from foreword.tokens import pack_tokens
from serving.fake_front import INFO
from serving.kv_subscriber import Subscriber, unpacked

ANY_PORT = "tcp://127.0.0.1:*"
TOPIC = "kv@pod@tiny"


class World:
    """A machine, its publisher, and a subscriber."""

    def __init__(self, machine: Machine, kept_batches: int = 10_000, waiting: int = 1000):
        self.machine = machine
        self.log = io.StringIO()
        config = machine.config
        info = replace(INFO, num_blocks=config.num_blocks, block_size=config.block_size, fingerprint=MODEL)
        sockets = KVSockets.bind(ANY_PORT, ANY_PORT, waiting)
        self.publisher = KVEventPublisher(sockets, info, make_log(self.log), TOPIC, kept_batches)
        machine.listeners.append(self.publisher.sink)
        self.subscriber = Subscriber(sockets.endpoint, sockets.replay_endpoint, TOPIC, waiting)
        while not self.subscriber.socket.poll(10):  # until it is connected: what came before it is not told
            machine.cache.reset()

    def serve(self, ids: list[int], namespace: Namespace | None = None, private: PrivatePart | None = None) -> None:
        """A request from beginning to end."""
        request = self.machine.must_start(ids, namespace or Namespace(MODEL), private=private)
        self.machine.complete()
        self.machine.finish(request)

    def last(self) -> int:
        """The number of the last batch."""
        return self.subscriber.ask(SNAPSHOT)[-1][0]


@contextmanager
def world(machine: Machine, kept_batches: int = 10_000, waiting: int = 1000) -> Iterator[World]:
    made = World(machine, kept_batches, waiting)
    with closing(made.publisher), closing(made.subscriber):
        yield made


def small(blocks: int = 40) -> Machine:
    return Machine(CacheConfig(num_blocks=blocks, block_size=4))


@pytest.mark.parametrize("lossy", [False, True])
def test_an_index_elsewhere_equals_the_cache_after_any_life(lossy: bool) -> None:
    """Of the lossy ones every third message is lost on the way, and asked for."""
    for seed in range(8):
        life = Life(seed)
        with world(life.machine) as made:
            for _ in range(60):
                life.operate()
            until, subscriber, lost = made.last(), made.subscriber, random.Random(seed)
            while subscriber.number < until:
                message = subscriber.socket.recv_multipart()
                number = int.from_bytes(message[1], "big")
                if not (lossy and lost.random() < 0.3 and number < until):
                    subscriber.apply(number, message[2])
            assert subscriber.paths() == life.machine.whole_paths(), f"seed {seed}"
            assert (subscriber.gaps > 1) >= (lossy and until > 20)
            late = Subscriber(subscriber.endpoint, subscriber.replay_endpoint, TOPIC)
            with closing(late):
                late.snapshot()
                assert (late.number, late.blocks) == (until, subscriber.blocks), f"seed {seed}"


def test_who_comes_later_than_anything_is_kept_gets_all_there_is() -> None:
    with world(small(), kept_batches=3) as made:
        for start in range(0, 200, 10):
            made.serve([*range(start, start + 10)])
        late = Subscriber(made.subscriber.endpoint, made.subscriber.replay_endpoint, TOPIC)
        with closing(late):
            assert len(late.ask(made.last())) == 1
            for number, payload in late.ask(0):
                late.apply(number, payload)
            assert late.paths() == made.machine.whole_paths()


def test_a_subscriber_that_does_not_read_loses_messages_and_catches_up() -> None:
    tokens = bytes(4 * 16_000)
    with world(small(blocks=4000), waiting=2) as made:
        made.subscriber.take()
        for _ in range(150):
            made.publisher.sink(BlockStored(b"", 0, tokens, tuple(range(4000))))
            made.publisher.sink(BlockRemoved(b"", 0, 16_000, tuple(range(4000))))
        made.serve([*range(10)])
        until = made.last()
        made.subscriber.catch_up(until)
        assert made.subscriber.gaps
        assert made.subscriber.paths() == made.machine.whole_paths()


def test_what_a_message_is_made_of() -> None:
    with world(small()) as made:
        start = made.last()
        made.serve([*range(8)])
        made.serve([*range(8)], Namespace(MODEL, cache_salt="pepper"))
        batches = [unpacked(payload)[1] for number, payload in made.subscriber.ask(start + 1) if number > start]
        first, salted = [event for batch in batches for event in batch]
        assert set(first) == {
            "type", "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
        }  # fmt: skip
        assert (first["token_ids"], first["block_size"], first["medium"]) == ([*range(8)], 4, "GPU")
        (key,), _ = salted["extra_keys"]
        assert key.startswith("dynamo-cache-salt:")
        assert "pepper" not in key
        assert not set(first["block_hashes"]) & set(salted["block_hashes"])


def test_what_stores_have_is_told_as_storage_beside_what_memory_has() -> None:
    prompt, shared = [*range(12)], Namespace(MODEL).key
    with world(small()) as made:
        subscriber, tell = made.subscriber, made.publisher.sink
        made.serve(prompt)
        tell(StoreAnswered(shared, pack_tokens(prompt), 0, 12))
        subscriber.catch_up(made.last())
        ways = [tuple(prompt[:end]) for end in (4, 8, 12)]
        assert subscriber.paths() == subscriber.paths(stored=True) == ways
        assert subscriber.blocks == subscriber.stored, "one block has one name, wherever it lies"
        made.machine.cache.reset()
        subscriber.catch_up(made.last())
        assert (subscriber.paths(), subscriber.paths(stored=True)) == ([], ways), "stores have it still"
        tell(StoreAnswered(shared, pack_tokens(prompt), 0, 4))
        subscriber.catch_up(made.last())
        assert subscriber.paths(stored=True) == ways[:1]
        with closing(Subscriber(subscriber.endpoint, subscriber.replay_endpoint, TOPIC)) as late:
            late.snapshot()
            assert late.stored == subscriber.stored


def test_the_first_message_and_the_last_say_that_all_is_gone() -> None:
    made = World(small())
    with closing(made.subscriber):
        assert unpacked(made.subscriber.ask(0)[0][1])[1] == [{"type": "AllBlocksCleared"}]
        made.serve([*range(8)])
        until = made.last()
        made.subscriber.catch_up(until)
        assert made.subscriber.blocks
        made.publisher.close()
        made.subscriber.catch_up(until + 1)
        assert not made.subscriber.blocks


def test_garbage_is_not_answered_and_ends_nothing() -> None:
    with world(small()) as made:
        with made.subscriber.context.socket(zmq.DEALER) as stranger:
            stranger.connect(made.subscriber.replay_endpoint)
            for frames in ((b"",), (b"", b"1"), (b"", b"12345678", b"x"), (b"x" * 10_000,)):
                stranger.send_multipart(frames)
            stranger.send_multipart((b"", bytes(8)))
            assert stranger.poll(10_000)
        made.serve([*range(8)])
        made.subscriber.snapshot()
        assert len(made.subscriber.blocks) == 2
        assert made.log.getvalue().count("a request that is none") == 4


def test_a_publisher_that_broke_says_so_and_keeps_nothing() -> None:
    with world(small()) as made:
        made.machine.listeners.clear()
        broken = BlockStored(b"", 0, bytes(16), (10**6,))  # no block of this cache
        made.publisher.sink(broken)
        made.publisher.close()
        made.publisher.sink(broken)
        assert "not published any more" in made.log.getvalue()


def test_a_port_that_is_taken_is_named() -> None:
    with closing(KVSockets.bind(ANY_PORT, ANY_PORT)) as sockets, pytest.raises(ConfigError, match="Address already in use"):
        KVSockets.bind(sockets.endpoint)


def test_the_other_socket_is_a_thousand_ports_further_on() -> None:
    with closing(KVSockets.bind(ANY_PORT, ANY_PORT)) as found:
        port = int(found.endpoint.rpartition(":")[2]) % 10_000 + 20_000
    with closing(KVSockets.bind(f"tcp://127.0.0.1:{port}")) as sockets:
        assert sockets.replay_endpoint == f"tcp://127.0.0.1:{port + 1000}"

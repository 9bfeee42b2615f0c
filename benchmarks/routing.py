"""What a decision of the router costs, and the memory of its index.

    python benchmarks/routing.py [--blocks 1000000] [--replicas 64] [--tokens 12288] [--decisions 2000]

The index has ``--blocks`` blocks of 16 tokens, in conversations that begin with one of eight system prompts of 128 blocks; a
conversation is at one to three replicas, a system prompt at all. A decision: a prompt that goes on with a conversation is
placed (chosen and reserved); its first token and its end are told outside the clock, with as many requests open as the
replicas run. ``snapshot``: a router that has been killed is given all blocks of one replica anew. ``killed``: another router
is given snapshots of all replicas and the reservations that are open, and both are asked of the same prompts. What nobody
tells anew is how much work each replica was given of late: with that weighed (``balance``) and without.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreword.cache import ModelFingerprint
from foreword.routing import BlockHashes, ReplicaFacts, RoutedRequest, Router, RouterConfig, Stored

BLOCK = 16
SYSTEM_BLOCKS = 128
LATER = 1000.0  # seconds: when all that has been placed would have been computed
FACTS = ReplicaFacts(ModelFingerprint("w", block_size=BLOCK), prefill_rate=8000.0, concurrency=64, max_tokens=1_000_000)


@dataclass
class Crowd:
    """Conversations, and the replicas that have each."""

    prompts: list[BlockHashes]
    holders: list[tuple[int, ...]]


def crowd(blocks: int, length: int, replicas: int) -> Crowd:
    """Conversations of ``length`` blocks, until there are so many different ones."""
    draw = np.random.default_rng(0)

    def fresh(count: int) -> BlockHashes:
        return draw.integers(1, 2**63, count).astype(np.uint64) * np.uint64(2) + np.uint64(1)

    systems = [fresh(SYSTEM_BLOCKS) for _ in range(8)]
    count = blocks // (length - SYSTEM_BLOCKS)
    prompts = [np.concatenate((systems[at % 8], fresh(length - SYSTEM_BLOCKS))) for at in range(count)]
    return Crowd(prompts, [tuple(draw.integers(0, replicas, draw.integers(1, 4)).tolist()) for _ in range(count)])


def filled(people: Crowd, replicas: int, blocks: int) -> Router:
    """A router whose replicas have told of all conversations."""
    router = Router(RouterConfig(expected_blocks=blocks))
    for number in range(replicas):
        router.join(f"replica-{number}", FACTS)
    batches = [0] * replicas
    for prompt, holders in zip(people.prompts, people.holders, strict=True):
        for number in holders:
            router.apply(f"replica-{number}", batches[number], [Stored(prompt)])
            batches[number] += 1
    return router


def decisions(router: Router, people: Crowd, count: int, open_requests: int) -> npt.NDArray[np.float64]:
    """Microseconds of each decision."""
    draw, took, now = np.random.default_rng(1), np.zeros(count), 0.0
    for number in range(count + open_requests):
        prompt = people.prompts[draw.integers(len(people.prompts))]
        request = RoutedRequest(str(number), prompt, BLOCK * len(prompt) + 1)
        begin = time.perf_counter()
        placed = router.select(request, now)
        seconds = time.perf_counter() - begin
        if number >= open_requests:
            took[number - open_requests] = seconds * 1e6
            router.finished(str(number - open_requests), now)
        router.started(str(number), placed.cached, now)
        now += 0.01
    return took


def measured(make: Callable[[], Router]) -> tuple[Router, int]:
    """What is made, and the bytes that it takes."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    router = make()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return router, taken


def rebuilt(count: int) -> float:
    """Seconds in which a snapshot of so many blocks is taken in."""
    draw = np.random.default_rng(2)
    snapshot = [Stored(draw.integers(1, 2**63, 100).astype(np.uint64)) for _ in range(count // 100)]
    router = Router()
    router.join("replica", FACTS)
    begin = time.perf_counter()
    router.snapshot("replica", 7, snapshot)
    return time.perf_counter() - begin


def agreeing(people: Crowd, replicas: int, asked: int, balance: float) -> float:
    """The share of requests that a router which has been killed and given all anew sends where it would have sent them."""
    config = RouterConfig(balance=balance)
    before, after = Router(config), Router(config)
    for number in range(replicas):
        name = f"replica-{number}"
        before.join(name, FACTS)
        after.join(name, FACTS)
        has = [Stored(prompt) for prompt, at in zip(people.prompts, people.holders, strict=True) if number in at]
        before.apply(name, 0, has)
        after.snapshot(name, 0, has)
    decisions(before, people, 10 * replicas, open_requests=4 * replicas)
    for news in before.stats(0.0).news:
        after.heard("before", news, 0.0)
    draw, alike = np.random.default_rng(3), 0
    for number in range(asked):
        prompt = people.prompts[draw.integers(len(people.prompts))]
        request = RoutedRequest(f"asked {number}", prompt, BLOCK * len(prompt) + 1)
        alike += before.select(request, LATER).replica == after.select(request, LATER).replica
        before.finished(request.request_id, LATER)
        after.finished(request.request_id, LATER)
    return alike / asked


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--blocks", type=int, default=1_000_000)
    arguments.add_argument("--replicas", type=int, default=64)
    arguments.add_argument("--tokens", type=int, default=12_288)
    arguments.add_argument("--decisions", type=int, default=2000)
    given = arguments.parse_args()
    people = crowd(given.blocks, given.tokens // BLOCK, given.replicas)
    router, taken = measured(lambda: filled(people, given.replicas, given.blocks))
    blocks = router.stats(0.0).index_blocks
    took = decisions(router, people, given.decisions, open_requests=4 * given.replicas)
    print(f"{blocks:,} blocks, {given.replicas} replicas, {given.tokens:,} tokens = {given.tokens // BLOCK} blocks a prompt")
    print(f"memory of the router: {taken / blocks:.1f} bytes a block")
    print(f"decision: median {np.median(took):.0f} us, 99 in 100 below {np.percentile(took, 99):.0f} us")
    print(f"snapshot of 100,000 blocks: {rebuilt(100_000):.2f} s")
    few = crowd(100_000, given.tokens // BLOCK, given.replicas)
    for balance in (0.0, RouterConfig().balance):
        print(f"killed, balance {balance:g}: {agreeing(few, given.replicas, 500, balance):.1%} of 500 decisions as before")


if __name__ == "__main__":
    main()

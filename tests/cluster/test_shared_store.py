"""Replicas over one store: what one of them has computed, another loads."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cluster.small_fleet import answer, small_fleet
from engine.making import Made
from engine.test_resume import joined
from foreword import SamplingParams
from foreword.account import Account, Source
from foreword.cluster.messages import Reserved
from foreword.engine import Engine, EngineRequest
from foreword.engine.load_rule import LEAST_TOKENS
from foreword.engine.runner import Sampled, Step
from foreword.routing import Placement
from foreword.tokens import pack_tokens

ASKED = EngineRequest(pack_tokens([2 + 7 * at % 300 for at in range(100)]), SamplingParams(temperature=0, max_tokens=4))
WHOLE = 96
"""Tokens of it that a store can bring: its whole blocks."""


def test_a_prefix_that_one_replica_computed_is_loaded_by_another(make_engine: Callable[..., Made], tmp_path: Path) -> None:
    store = f"file://{tmp_path}"

    async def run() -> None:
        async with small_fleet(lambda: make_engine(shared_store=store).engine, "a", "b") as small:
            first = await answer(small.fleet, replace(ASKED, request_id="first"))
            await answer(small.fleet, replace(ASKED, request_id="second"))  # what is used twice is stored
            holder = small.fleet.placements["second"].replica
            deadline = time.monotonic() + 20
            while sum(path.is_file() for path in tmp_path.rglob("*")) < WHOLE // 16:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await small.cut(holder)
            await small.have_joined(*({"a", "b"} - {holder}))
            loaded = await answer(small.fleet, replace(ASKED, request_id="third"))
            assert loaded[-1].account.by_source[Source.STORED_SHARED] == WHOLE
            assert loaded[-1].account.computed == 100 - WHOLE
            assert joined(loaded, 0) == joined(first, 0)

    asyncio.run(run())


def test_what_a_store_has_is_no_reason_to_wait_for_who_computed_it(make_engine: Callable[..., Made], tmp_path: Path) -> None:
    """Told by real engines over real connections: what was stored, and, once something was loaded, how fast that is."""
    store = f"file://{tmp_path}"

    def engine() -> Engine:
        """Its prompts take so long that loading them is quicker on a busy machine, too."""
        made = make_engine(shared_store=store)

        def hook(step: Step, run: Callable[[Step], list[Sampled]]) -> list[Sampled]:
            if step.num_tokens >= LEAST_TOKENS:
                time.sleep(1.0)
            return run(step)

        made.runner.hook = hook
        return made.engine

    other = replace(ASKED, tokens=pack_tokens([3 + 5 * at % 300 for at in range(100)]))

    async def run() -> None:
        async with small_fleet(engine, "a", store=store, prefill_rate=100.0) as small:
            fleet = small.fleet

            async def ask(name: str, request: EngineRequest) -> tuple[Placement, Account]:
                told = await answer(fleet, replace(request, request_id=name))
                return fleet.placements[name], told[-1].account

            def is_busy(name: str) -> None:
                fleet.heard(fleet.replicas[name], "another ingress", [Reserved(f"long at {name}", b"", 1000, 50.0)])

            for number, request in enumerate((ASKED, ASKED, other, other)):  # what is used twice is stored
                await ask(f"kept {number}", request)
            async with asyncio.timeout(20):
                while fleet.stats().stored_blocks < 2 * WHOLE // 16:
                    await asyncio.sleep(0.02)
            await small.add("b")
            await small.have_joined("a", "b")
            is_busy("a")
            place, account = await ask("before anything was loaded", ASKED)
            assert (place.replica, place.loadable) == ("b", 0), "how fast it loads is not known"
            assert account.by_source[Source.STORED_SHARED] == WHOLE
            place, account = await ask("by what is known", other)
            assert (place.replica, place.loadable, place.why) == ("b", WHOLE, "prefix")
            assert account.by_source[Source.STORED_SHARED] == WHOLE
            explained = fleet.placed("by what is known")
            assert explained is not None
            assert explained.words == "Sent to b, which loads 96 tokens of it from the shared store."
            async with small.another_ingress() as late, asyncio.timeout(20):
                while late.stats().stored_blocks < 2 * WHOLE // 16:  # by snapshots of the replicas
                    await asyncio.sleep(0.02)
            await small.cut("a")
            await small.add("c")
            await small.have_joined("b", "c")
            is_busy("b")
            place, account = await ask("after its holder was killed", other)
            assert (place.replica, place.loadable) == ("c", WHOLE), "others have measured the same store"
            assert account.by_source[Source.STORED_SHARED] == WHOLE

    asyncio.run(run())

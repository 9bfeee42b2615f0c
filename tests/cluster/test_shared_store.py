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
from foreword.account import Source
from foreword.engine import EngineRequest
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

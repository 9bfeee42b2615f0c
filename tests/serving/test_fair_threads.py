"""Work of several tenants: each waits for himself, whatever the others ask for."""

import asyncio
import threading

import pytest

from foreword.serving.fair_threads import FairThreads


def test_a_tenant_waits_for_himself_and_nobody_for_all_of_his_work() -> None:
    go_on, begun = threading.Event(), []

    def slow(name: str) -> str:
        begun.append(name)
        assert go_on.wait(60)
        return name

    async def main() -> None:
        threads = FairThreads(2, "test")
        hostile = [asyncio.ensure_future(threads.run("mallory", lambda n=n: slow(f"m{n}"))) for n in range(20)]  # type: ignore[misc]
        while not begun:
            await asyncio.sleep(0.001)
        assert await threads.run("alice", lambda: "at once") == "at once"
        assert begun == ["m0"], "one at a time"
        go_on.set()
        assert await asyncio.gather(*hostile) == [f"m{number}" for number in range(20)]
        threads.close()

    asyncio.run(main())


def test_tenants_in_turn() -> None:
    begun: list[str] = []

    async def main() -> None:
        threads = FairThreads(1, "test")
        asked = [threads.run(name, lambda name=name: begun.append(name)) for name in "aaaabbc"]  # type: ignore[misc]
        await asyncio.gather(*asked)
        threads.close()

    asyncio.run(main())
    assert begun == ["a", "b", "c", "a", "b", "a", "a"]


def test_work_that_nobody_waits_for_keeps_its_place_until_it_ends_and_what_has_not_begun_never_begins() -> None:
    go_on, begun = threading.Event(), []

    def slow(name: str) -> None:
        begun.append(name)
        assert go_on.wait(60)
        raise ValueError(name)

    async def main() -> None:
        threads = FairThreads(2, "test")
        first = asyncio.ensure_future(threads.run("mallory", lambda: slow("first")))
        second = asyncio.ensure_future(threads.run("mallory", lambda: slow("second")))
        while not begun:
            await asyncio.sleep(0.001)
        first.cancel()
        second.cancel()
        third = asyncio.ensure_future(threads.run("mallory", lambda: slow("third")))
        assert await threads.run("alice", lambda: 1) == 1
        assert begun == ["first"], "it still has the one thread that is mallory's"
        go_on.set()
        with pytest.raises(ValueError, match="third"):
            await third
        assert begun == ["first", "third"]
        threads.close()

    asyncio.run(main())

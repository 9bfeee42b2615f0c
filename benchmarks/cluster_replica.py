"""A replica in a process of its own, without Ray, for cluster.py: prints its address, then answers until it is killed."""

import asyncio
import sys

import uvloop

from foreword.cluster.replica import ReplicaServer, prefill_rate
from foreword.engine.async_llm import AsyncLLM


async def main(name: str, secret: str, model: str) -> None:
    llm = AsyncLLM(model or None, kv_cache_memory_bytes=2**26, self_test=False)
    server = ReplicaServer(llm, name, secret, await prefill_rate(llm))
    print(f"127.0.0.1:{await server.start('127.0.0.1')}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:4]))

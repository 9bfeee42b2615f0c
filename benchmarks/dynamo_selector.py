"""Our router beside Dynamo's selector (``ai-dynamo-runtime``), on one trace and the same events, in one simulated fleet.

    python benchmarks/dynamo_selector.py TRACE --python /path/to/dynamo/venv/bin/python [--replicas 8] [--load 0.7]

Dynamo's package pins versions that ours do not have, so it lives in a virtual environment of its own:

    python -m venv dynamo && dynamo/bin/pip install ai-dynamo-runtime==1.6.1 pyzmq msgspec

Without it this script says so and ends. A process of that environment runs ``SelectionService`` with its defaults. It is
told what a router of the field is told: KV events in vLLM's format over ZMQ, a socket a replica; the tokens of a request
(``select_and_reserve``), its first token (``prefill_complete``) and its end (``free_reservation``). Events take real time to
arrive, while the fleet lives in virtual time: before each choice that follows events ``--settle`` milliseconds pass.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

PORT = 17_000


class Selector:
    """Dynamo's side: what is asked by lines of JSON on standard input is answered by lines on standard output."""

    def __init__(self, settle: float):
        import msgspec
        import zmq
        from dynamo.llm import SelectionService  # type: ignore[import-not-found]

        self._service = SelectionService(indexer_threads=1)
        self._encode = msgspec.msgpack.Encoder().encode
        self._context = zmq.Context()
        self._kind = zmq.PUB
        self._sockets: dict[int, Any] = {}
        self._settle = settle
        self._told = False

    async def answer(self, asked: dict[str, Any]) -> Any:
        """Do what a line asks."""
        match asked["do"]:
            case "join":
                await self._join(asked["worker"], asked["block_size"])
            case "events":
                batch = [0.0, asked["events"], 0]
                frames = (b"", asked["sequence"].to_bytes(8, "big"), self._encode(batch))
                self._sockets[asked["worker"]].send_multipart(frames)
                self._told = True
            case "select":
                if self._told:
                    await asyncio.sleep(self._settle)
                    self._told = False
                request = {"model_name": "m", "token_ids": asked["tokens"], "selection_id": asked["id"]}
                return (await self._service.select_and_reserve(request))["worker_id"]
            case "started":
                await self._service.prefill_complete(asked["id"])
            case "finished":
                await self._service.free_reservation(asked["id"])
        return None

    async def _join(self, worker: int, block_size: int) -> None:
        endpoint = f"tcp://127.0.0.1:{PORT + worker}"
        socket = self._sockets[worker] = self._context.socket(self._kind)
        socket.set_hwm(0)
        socket.bind(endpoint)
        facts = {"worker_id": worker, "model_name": "m", "endpoint": f"http://127.0.0.1:{worker}", "block_size": block_size}
        await self._service.upsert_worker({**facts, "kv_events_endpoint": endpoint})


async def serve(settle: float) -> None:
    """Answer lines until there are no more."""
    selector = Selector(settle)
    for line in sys.stdin:
        asked = json.loads(line)
        found = await selector.answer(asked)
        if asked["do"] in ("select", "sync"):
            print(json.dumps(found), flush=True)


class DynamoRouting:
    """A router of a simulated fleet that asks Dynamo's selector."""

    def __init__(self, process: "subprocess.Popen[str]"):
        assert process.stdin is not None and process.stdout is not None
        self._to: IO[str] = process.stdin
        self._of: IO[str] = process.stdout
        self._names: list[str] = []
        self.tokens: dict[str, list[int]] = {}
        """Of requests that are about to be placed."""

    def join(self, replica: str, facts: Any) -> None:
        """A replica takes requests."""
        self._tell(do="join", worker=len(self._names), block_size=facts.identity.block_size)
        self._names.append(replica)

    def settled(self) -> None:
        """Wait until all that was told is done."""
        self._tell(do="sync")
        self._of.readline()

    def place(self, request: Any, now: float) -> str:
        """The replica that a request goes to."""
        del now
        self._tell(do="select", id=request.request_id, tokens=self.tokens.pop(request.request_id))
        return self._names[int(self._of.readline())]

    def apply(self, replica: str, source: Any, sequence: int, events: Sequence[Any]) -> None:
        """A batch of a replica's events, in vLLM's form."""
        del source
        told = [_field(event) for event in events]
        self._tell(do="events", worker=self._names.index(replica), sequence=sequence, events=told)

    def started(self, request_id: str, cached_tokens: int, now: float) -> None:
        """A request's first token came."""
        del cached_tokens, now
        self._tell(do="started", id=request_id)

    def finished(self, request_id: str, now: float) -> None:
        """A request has ended."""
        del now
        self._tell(do="finished", id=request_id)

    def _tell(self, **what: Any) -> None:
        self._to.write(json.dumps(what) + "\n")
        self._to.flush()


def _field(event: Any) -> dict[str, Any]:
    """One of our events as vLLM writes it."""
    from foreword.cache.kv_events import RemovedBlocks, StoredBlocks
    from foreword.tokens import unpack_tokens

    match event:
        case StoredBlocks(hashes, parent, tokens):
            ids = unpack_tokens(tokens)
            return {
                "type": "BlockStored", "block_hashes": hashes, "parent_block_hash": parent, "token_ids": ids,
                "block_size": len(ids) // len(hashes), "lora_id": None, "medium": "GPU", "lora_name": None,
            }  # fmt: skip
        case RemovedBlocks(hashes):
            return {"type": "BlockRemoved", "block_hashes": hashes, "medium": "GPU"}
    return {"type": "AllBlocksCleared"}


def compare(given: argparse.Namespace) -> None:
    """The trace through both, one after the other."""
    from foreword.replay import ReplayConfig
    from foreword.replay.fleet import Fleet
    from foreword.replay.fleet_config import FleetConfig
    from foreword.replay.fleet_routers import ROUTERS
    from foreword.replay.fleet_sweep import arriving, fleet_speed, offered, simulated_sizes
    from foreword.replay.report import duration
    from foreword.replay.traces import read_trace
    from foreword.tokens import unpack_tokens

    with given.trace.open("rb") as stream:
        trace = list(read_trace(stream).requests)[: given.requests]
    config = ReplayConfig(
        blocks=(given.cache // given.block,), block_size=given.block, prefill_rate=given.rate, decode_ms=10.0,
        max_num_batched_tokens=2048,
    )  # fmt: skip
    fleets = FleetConfig(replicas=str(given.replicas), arrivals=f"load:{given.load}", scale=given.scale)
    cache, scheduler = simulated_sizes(config, given.scale)
    asked = offered(lambda _: trace, cache.block_size, given.scale)
    speed = fleet_speed(config, fleets, config.costs(), asked, given.replicas)
    command = [given.python, __file__, "--serve", "--settle", str(given.settle)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    dynamo = DynamoRouting(process)
    print(f"{len(trace):,} requests, {given.replicas} replicas, one cache without bounds hits {asked.hit_rate:.1%}")
    for name, router in (("ours", ROUTERS["prefix"]()), ("Dynamo's", dynamo)):
        fleet = Fleet(router, given.replicas, cache, scheduler, config.costs(), given.scale)
        if router is dynamo:
            dynamo.settled()
        requests = arriving(trace, fleets, asked, speed)
        if router is dynamo:
            requests = _with_tokens(requests, dynamo, given.scale, unpack_tokens)
        result = fleet.run(requests)
        times = ", ".join(
            f"{label} {duration(t)}" for label, t in zip(("p50", "p90", "p95", "p99"), result.ttft, strict=True)
        )
        print(
            f"{name}: {result.cached_tokens:,} of {result.prompt_tokens:,} prompt tokens were hits ({result.hit_rate:.1%}), "
            f"imbalance {result.imbalance:.2f}, TTFT {times}",
            flush=True,
        )
    process.stdin.close()  # type: ignore[union-attr]
    process.wait(timeout=30)


def _with_tokens(requests: Any, dynamo: DynamoRouting, scale: int, unpack: Any) -> Any:
    for request in requests:
        dynamo.tokens[f"request-{request.number}"] = unpack(request.prompt(scale))
        yield request


def can_import(python: str) -> bool:
    """Whether an interpreter is there that has what Dynamo's side needs."""
    if not Path(python).exists():
        return False
    tried = [python, "-c", "import dynamo.llm, zmq, msgspec"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Compare, or serve the comparison from Dynamo's environment."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("trace", type=Path, nargs="?")
    arguments.add_argument("--python", default="dynamo/bin/python", help="of the environment that has Dynamo's package")
    arguments.add_argument("--replicas", type=int, default=8)
    arguments.add_argument("--requests", type=int, default=None)
    arguments.add_argument("--load", type=float, default=0.7)
    arguments.add_argument("--cache", type=int, default=4_000_000, help="tokens a replica")
    arguments.add_argument("--block", type=int, default=128)
    arguments.add_argument("--scale", type=int, default=32)
    arguments.add_argument("--rate", type=float, default=8000.0, help="prompt tokens a second")
    arguments.add_argument("--settle", type=float, default=0.003, help="seconds that events have to arrive")
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        asyncio.run(serve(given.settle))
        return
    if not can_import(given.python):
        print(f"skipped: {given.python} has no ai-dynamo-runtime, pyzmq and msgspec; see the head of this file.")
        return
    compare(given)


if __name__ == "__main__":
    main()

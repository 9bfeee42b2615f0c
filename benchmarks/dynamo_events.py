"""Our publisher before Dynamo's selector (``ai-dynamo-runtime``): does it find what a server of ours says is cached?

    python benchmarks/dynamo_events.py --python /path/to/dynamo/venv/bin/python [--prompts 12]

The environment is that of dynamo_selector.py. A server with the packaged model publishes its cache by ``--kv-events``;
Dynamo's ``SelectionService`` subscribes to it. Prompts that begin alike are sent one after the other; before each the
selector is asked how many of its blocks it knows at the server, which then says how many tokens were cached. Ours matches to
the token, so of that whole blocks count. Where they differ the script says so and its exit status is 1; where Dynamo's
package is missing it says that, and ends.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import msgspec
import zmq

from dynamo_selector import can_import

PORT, EVENTS = 18_431, 18_432
BLOCK = 16
SETTLE_SECONDS = 0.5  # for events to arrive


async def serve() -> None:
    """Answer lines of token ids by the blocks that the selector knows of them at the server."""
    from dynamo.llm import SelectionService  # type: ignore[import-not-found]

    service = SelectionService(indexer_threads=1)
    facts = {"worker_id": 0, "model_name": "m", "endpoint": f"http://127.0.0.1:{PORT}", "block_size": BLOCK}
    await service.upsert_worker({**facts, "kv_events_endpoint": f"tcp://127.0.0.1:{EVENTS}"})
    for line in sys.stdin:
        await asyncio.sleep(SETTLE_SECONDS)
        found = await service.overlap_scores({"model_name": "m", **json.loads(line)})
        print(json.dumps(found), flush=True)


def prompts(count: int) -> list[list[int]]:
    """Token ids: each prompt goes on with one of three beginnings, or is the one before it, longer."""
    made: list[list[int]] = []
    for number in range(count):
        if number % 2:
            made.append(made[-1] + [(7 * number + at) % 200 + 20 for at in range(40)])
        else:
            begin = [(31 * (number % 3) + 3 * at) % 200 + 20 for at in range(100)]
            made.append(begin + [(11 * number + at) % 200 + 20 for at in range(50)])
    return made


def ask(prompt: list[int]) -> int:
    """Send a prompt to the server: how many of its tokens were cached."""
    body = json.dumps({"model": "m", "prompt": prompt, "max_tokens": 1, "temperature": 0}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(json.load(answer)["usage"]["prompt_tokens_details"]["cached_tokens"])


def salt() -> str:
    """Under which salt the server tells of what a client without a key has: by an event, before Dynamo listens."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.connect(f"tcp://127.0.0.1:{EVENTS}")
    socket.subscribe(b"")
    time.sleep(SETTLE_SECONDS)
    ask(list(range(300, 300 + 2 * BLOCK)))
    while socket.poll(5000):
        for event in msgspec.msgpack.decode(socket.recv_multipart()[2])[1]:
            if event["type"] == "BlockStored":
                return str(event["extra_keys"][0][0]).removeprefix("dynamo-cache-salt:")
    raise RuntimeError("the server told of no block")


def wait_until_ready(server: "subprocess.Popen[bytes]") -> None:
    """Returns when the server answers; RuntimeError if it ends or does not."""
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("the server did not begin to answer")


def compare(python: str, count: int) -> int:
    """Ask both of each prompt; returns how many differ."""
    serving = [sys.executable, "-m", "foreword", "serve", "--port", str(PORT), "--block-size", str(BLOCK)]
    serving += ["--served-model-name", "m"]
    server = subprocess.Popen([*serving, "--kv-events", f"tcp://127.0.0.1:{EVENTS}"], stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(server)
        return _differing(python, count, salt())
    finally:
        server.terminate()
        server.wait(timeout=30)


def _differing(python: str, count: int, cache_salt: str) -> int:
    selector = subprocess.Popen(
        [python, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert selector.stdin is not None and selector.stdout is not None
    try:
        differ = known = 0
        for prompt in prompts(count):
            selector.stdin.write(json.dumps({"token_ids": prompt, "cache_salt": cache_salt}) + "\n")
            selector.stdin.flush()
            found = blocks(json.loads(selector.stdout.readline()))
            cached = ask(prompt)
            known, differ = known + found, differ + (found != cached // BLOCK)
            print(
                f"{len(prompt)} tokens: Dynamo's selector knows {found} blocks, the server had {cached} tokens", flush=True
            )
        print(f"{count} prompts, {known} blocks known; {differ} prompts on which they differ")
        return differ
    finally:
        selector.terminate()
        selector.wait(timeout=30)


def blocks(found: Any) -> int:
    """Blocks that the one worker has, of an answer."""
    return max((int(worker.get("device_blocks", 0)) for worker in found.get("workers", [])), default=0)


def main() -> None:
    """Compare, or serve the comparison from Dynamo's environment."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--python", default="dynamo/bin/python", help="of the environment that has Dynamo's package")
    arguments.add_argument("--prompts", type=int, default=12)
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        asyncio.run(serve())
    elif not can_import(given.python):
        print(f"skipped: {given.python} has no ai-dynamo-runtime, pyzmq and msgspec; see the head of dynamo_selector.py.")
    else:
        sys.exit(1 if compare(given.python, given.prompts) else 0)


if __name__ == "__main__":
    main()

"""Kill a replica of a running fleet in mid-stream, as clients of OpenAI's and Anthropic's SDK see it: does the text differ?

    pip install openai anthropic
    foreword cluster smollm2 --replicas 2 --replica-cpus 0.1        # in another terminal, on this machine
    python benchmarks/cluster_sdks.py http://127.0.0.1:8000

Each SDK asks twice, the second time with the process killed that answers; exits with 1 where the texts are not the same.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import anthropic
import openai

ASKED = "Write a long story about a lighthouse keeper, his dog and a storm. Tell of each of the three days."
KILLED_AT = 8
"""Pieces of the answer that have come when the replica is killed."""


def by_openai(url: str, model: str, tokens: int) -> Iterator[str]:
    """Pieces of a drawn answer of /v1/chat/completions."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": ASKED}], max_tokens=tokens, seed=5, temperature=1.0, stream=True
    )
    for chunk in stream:
        for choice in chunk.choices:
            yield choice.delta.content or ""


def by_anthropic(url: str, model: str, tokens: int) -> Iterator[str]:
    """Pieces of a greedy answer of /v1/messages."""
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    with client.messages.stream(
        model=model, messages=[{"role": "user", "content": ASKED}], max_tokens=tokens, extra_body={"temperature": 0}
    ) as stream:
        yield from stream.text_stream


def fleet(url: str) -> dict[str, Any]:
    """The fleet's state."""
    with urlopen(f"{url}/v1/cache/counts") as response:
        found: dict[str, Any] = json.load(response)["fleet"]
    return found


def text(url: str, pieces: Iterator[str], kill: bool) -> tuple[str, float]:
    """An answer and the longest wait for its next piece, in seconds; with ``kill`` its replica dies in the midst of it."""
    told: list[str] = []
    longest, last = 0.0, time.perf_counter()
    for piece in pieces:
        now = time.perf_counter()
        longest, last = max(longest, now - last) if told else 0.0, now
        told.append(piece)
        if kill and len(told) == KILLED_AT:
            (busy,) = [each for each in fleet(url)["replicas"] if each["running"] or each["waiting"]]
            os.kill(busy["pid"], signal.SIGKILL)
    return "".join(told), longest


def compare(url: str, name: str, ask: Callable[[], Iterator[str]], count: int) -> bool:
    """Ask undisturbed, then disturbed, once there are ``count`` replicas."""
    while len(fleet(url)["replicas"]) < count:
        time.sleep(0.5)
    right, usual = text(url, ask(), kill=False)
    resumed = fleet(url)["resumed"]
    got, longest = text(url, ask(), kill=True)
    went_on = fleet(url)["resumed"] - resumed
    same = got == right and went_on == 1
    print(json.dumps({
        "sdk": name, "characters": len(right), "same": got == right, "went on elsewhere": went_on,
        "longest wait, s": round(longest, 2), "undisturbed": round(usual, 2), "begins": right[:60],
    }))  # fmt: skip
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--replicas", type=int, default=2, help="How many there are to be before one is killed.")
    parser.add_argument("--tokens", type=int, default=120, help="Of an answer: so many that it lasts.")
    given = parser.parse_args()
    with urlopen(f"{given.url}/v1/models") as response:
        model = json.load(response)["data"][0]["id"]
    asks = {f"openai {openai.__version__}": by_openai, f"anthropic {anthropic.__version__}": by_anthropic}
    same = [
        compare(given.url, name, lambda ask=ask: ask(given.url, model, given.tokens), given.replicas)  # type: ignore[misc]
        for name, ask in asks.items()
    ]
    sys.exit(not all(same))


if __name__ == "__main__":
    main()

"""32 requests at once that share nothing, on any engine of the peers harness, its cache on.

    PYTHONPATH=src:PEERS python benchmarks/unshared_crowd.py ADAPTER float32 --model MODEL [--repeat 1]

The crowd of the harness's w2 with a prefix of its own for each request. ADAPTER is a name in PEERS/adapters, or a path;
run it with the Python that has the engine. Prints a JSON line a repetition, as the harness does.
"""

import argparse
import json
import random
import time
from typing import Any

PROMPT, OUT, COUNT = 2048 + 64, 64, 32


def crowd(engine: Any, seed: int) -> dict[str, Any]:
    """Tokens of all a second, and seconds."""
    from api import Request  # type: ignore[import-not-found]
    from workloads import cached_sum, submit, tokens  # type: ignore[import-not-found]

    rng = random.Random(f"unshared/{seed}")
    results, wall = submit(engine, [Request(tokens(rng, PROMPT), OUT, shared=0) for _ in range(COUNT)])
    return {"wall_s": wall, "out_tok_s": COUNT * OUT / wall, "cached_tokens": cached_sum(results)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("precision")
    parser.add_argument("--model", required=True)
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    from run import busy_elsewhere, load_adapter  # type: ignore[import-not-found]
    from workloads import WORKLOADS

    engine = load_adapter(args.engine).load(args.model, args.precision, True)
    WORKLOADS["warmup"](engine, 999)
    for seed in range(1000, 1000 + args.repeat):
        start, others = time.perf_counter(), busy_elsewhere()
        result = crowd(engine, seed)
        others = (busy_elsewhere() - others) / (time.perf_counter() - start)
        line = {"engine": args.engine, "precision": args.precision, "event": "result", "workload": "unshared", "seed": seed}
        print(json.dumps({**line, "other_cores": round(others, 3), **result}), flush=True)
    engine.close()


if __name__ == "__main__":
    main()

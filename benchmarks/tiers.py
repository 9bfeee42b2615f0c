"""The tiers below the KV memory, through real engines: a table, each row beside its target.

    python benchmarks/tiers.py MODEL [--parts PART,...] [--trace TRACE] [--folder FOLDER] [--json FILE]

restart   The first token after a restart, beside a cold one and a hit in memory; and how fast the pool is filled. Of MODEL
          with a prefix of 8,192 tokens; ``restart-smollm2``: of SmolLM2 with one that its context allows.
writing   Bytes written for each byte of KV; and how much slower decoding is meanwhile.
shared    Two processes over one folder, or one Valkey: what does the second compute of what the first has computed?
start     How much later is an engine ready over 10,000 or 1,000,000 blocks (made up)?
working-set  Sessions of TRACE (the published coding agents' sessions) whose KV take twice the memory: what hits, and how
          soon the first tokens come, with a store and without. ``working-set-smollm2``: of SmolLM2.

Every engine that has to begin anew is a process of its own. ``--folder`` lies on the disk that is measured.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import machine, watching_others
from tier_rows import restart, shared, start, working_set, writing
from tier_rows.row import Row, table

PARTS = ("restart", "restart-smollm2", "writing", "shared", "start", "working-set", "working-set-smollm2")
SMOLLM2, SMOLLM2_TOKENS, TOKENS = "smollm2", 8_096, 8_192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the 0.22 B model (benchmarks/README.md says how it is made)")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of the prefix that is there after a restart")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--trace", type=Path, help="of sessions, for the parts of a working set")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.trace is None and any(part.startswith("working-set") for part in args.parts.split(",")):
        parser.error("the parts of a working set need --trace, a file of sessions")
    parts: dict[str, Callable[[Path], list[Row]]] = {
        "restart": lambda folder: restart.rows(args.model, "0.22 B", args.tokens, folder),
        "restart-smollm2": lambda folder: restart.rows(SMOLLM2, "SmolLM2", SMOLLM2_TOKENS, folder),
        "writing": lambda folder: writing.rows(args.model, folder),
        "shared": lambda folder: shared.rows(args.model, folder, shared.own_valkey),
        "start": lambda folder: start.rows(args.model, folder),
        "working-set": lambda folder: working_set.rows(args.model, "0.22 B", args.trace, folder),
        "working-set-smollm2": lambda folder: working_set.rows(SMOLLM2, "SmolLM2", args.trace, folder),
    }
    rows: list[Row] = []
    load: dict[str, Any] = {}
    for part in args.parts.split(","):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder, watching_others(load):
            rows += parts[part](Path(folder))
    print(json.dumps(machine()))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), **load, "rows": [row.as_json() for row in rows]}, indent=1))


if __name__ == "__main__":
    main()

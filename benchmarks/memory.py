"""How much memory does the engine take beside its weights and its KV?

    python benchmarks/memory.py [--models MODEL ...] [--loads table,crowd] [--options quantization=int8] [--json FILE]

Each load of `foreword bench` runs in a process of its own; its peak is what the system counted as resident at most
(VmHWM), loading included. The limit is 1.15 times the weights and the KV memory, plus 300 MB. The KV memory has just the
room that the load needs. Weights are the numbers in the model's files, at the bytes they are computed with; a matrix that
is both embedding and head counts once. *Imports* is what the process takes before there is an engine. MB are 10⁶ bytes.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from foreword.bench import WORKLOADS, machine, run_batch
from foreword.engine.build import build_engine
from foreword.engine.config import EngineConfig
from foreword.weights.safetensors import PACKAGED_MODEL

FACTOR, BESIDE = 1.15, 300e6


def weights(model: str | None) -> int:
    """How many numbers a model's files hold."""
    count = 0
    for path in Path(model or PACKAGED_MODEL).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                size = 1
                for length in file.get_slice(name).get_shape():
                    size *= length
                count += size
    return count


def peak_bytes() -> int:
    """Most memory of this process that was resident so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def token_bytes(model: str | None, options: dict[str, Any]) -> int:
    """Bytes of KV that a token takes in all layers of a plain decoder."""
    config = json.loads((Path(model or PACKAGED_MODEL) / "config.json").read_text())
    numbers: int = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    size: int = getattr(torch, options.get("kv_dtype", "float32")).itemsize
    return numbers * size


def run_load(model: str | None, load: str, options: dict[str, Any]) -> dict[str, float]:
    """One load in this process; bytes."""
    imported = peak_bytes()
    context = json.loads((Path(model or PACKAGED_MODEL) / "config.json").read_text())["max_position_embeddings"]
    workload = WORKLOADS[load].fitted(1.0, context)
    sizes = workload.sizes
    tokens = sizes.prefix + workload.requests * (sizes.own + sizes.n_out + 2 * EngineConfig.block_size)
    memory = tokens * token_bytes(model, options)
    engine = build_engine(EngineConfig(model=model, kv_cache_memory_bytes=memory, **options))
    loaded = peak_bytes()
    workload.run("memory", engine.info.vocab_size, partial(run_batch, engine, lambda: None))
    usage = engine.usage()
    assert usage.evicted_tokens == 0, "the KV memory is too small: blocks were used twice"
    kv = usage.total_blocks * engine.info.block_size * engine.info.bytes_per_token
    return {"imported": imported, "loaded": loaded, "kv": kv, "peak": peak_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[], help="beside the one in the package")
    parser.add_argument("--loads", default="table,crowd")
    parser.add_argument("--options", nargs="*", default=[], help="of EngineConfig, as name=value")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.options)
    if args.one:
        model, load = args.one
        print(json.dumps(run_load(model or None, load, options)))
        return
    size = 1 if options.get("quantization") == "int8" else 4
    table = Table("model", "load", "imports", "loaded", "peak", "weights", "KV", "limit", "peak / limit", title="MB")
    rows = []
    for model in [None, *args.models]:
        for load in args.loads.split(","):
            command = [sys.executable, __file__, "--one", model or "", load, "--options", *args.options]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            row["weights"] = weights(model) * size
            row["limit"] = FACTOR * (row["weights"] + row["kv"]) + BESIDE
            rows.append({"model": model or "packaged", "load": load, **row})
            names = ("imported", "loaded", "peak", "weights", "kv", "limit")
            cells = [f"{row[name] / 1e6:.0f}" for name in names]
            table.add_row(Path(model).name if model else "packaged", load, *cells, f"{row['peak'] / row['limit']:.2f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "options": options, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

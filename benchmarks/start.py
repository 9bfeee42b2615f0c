"""How long from the start of `foreword demo` to its first token, and where does the time go?

    python benchmarks/start.py [--runs 5]

The command runs in a process of its own; a hook tells when the engine has its first token (that of the demo's warm-up), then
the process ends. The first run, which may have to read files from the disk, is not counted.
"""

import argparse
import subprocess
import sys
import time
from statistics import median

from tqdm import tqdm

CHILD = """
import os, sys, time
began = float(sys.argv[1])
def tell(what):
    print(f"{what} {time.time() - began:.3f}", flush=True)
tell("interpreter")
import foreword.cli.main
tell("command line")
import torch
tell("torch")
import foreword.engine.build
tell("engine")
from foreword.engine.engine import Engine
make, step = Engine.__init__, Engine.step
def made(self, *args, **options):
    make(self, *args, **options)
    tell("model")
def stepped(self):
    outputs = step(self)
    tell("first token")
    os._exit(0)
Engine.__init__, Engine.step = made, stepped
sys.argv = ["foreword", "demo"]
foreword.cli.main.run()
"""


def one_run() -> dict[str, float]:
    """Seconds from the start of the process to each stage."""
    command = [sys.executable, "-c", CHILD, str(time.time())]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    stages = [line.rsplit(" ", 1) for line in lines]
    return {name: float(seconds) for name, seconds in stages if name in STAGES}


STAGES = ("interpreter", "command line", "torch", "engine", "model", "first token")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    runs = [one_run() for _ in tqdm(range(args.runs + 1), unit="run")][1:]
    before = 0.0
    for name in STAGES:
        times = [run[name] for run in runs]
        at = median(times)
        print(f"{name:14} {at:6.2f} s  (+{at - before:.2f})  {min(times):.2f} to {max(times):.2f}")
        before = at


if __name__ == "__main__":
    main()

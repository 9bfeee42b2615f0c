"""How long does a start take, the first time and after, and of how much CPU?

    python benchmarks/start.py [MODEL ...] [--runs 5] [--beside SRC]

For the model in the package and for each MODEL: `foreword serve` until it is ready, and until the first token of an answer;
`foreword demo` until its first token; and `foreword --help`. Every run is a process of its own: its wall time, and the CPU
time of all its threads, up to that moment. *First* starts have an empty cache folder, *second* ones that of a first. With
``--beside`` another source tree takes turns with this one. Byte code is kept, as where `pip` installed it, in a folder of
the benchmark's own; the first run of each kind, which may have to write it and to read files from the disk, is not counted.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from tqdm import tqdm

HERE = Path(__file__).parents[1] / "src"
SERVE, ANSWER, DEMO, HELP = "serve, to ready", "serve, to the first token", "demo, to the first token", "--help"
CHILD = """
import os, sys, threading, time
began, watched, told = float(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.argv = ["foreword", *sys.argv[4:]]

def done():
    times = os.times()
    with open(told, "w") as file:
        file.write(f"{time.time() - began:.3f} {times.user + times.system:.3f}")
    os._exit(0)

def listens():
    import json
    import urllib.request
    what, _, port = watched.partition(" ")
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
            break
        except OSError:
            time.sleep(0.02)
    if what == "answer":
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            model = json.load(answer)["data"][0]["id"]
        body = {"model": model, "prompt": "The capital of France is", "max_tokens": 4, "stream": True}
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked) as answer:
            assert answer.readline().startswith(b"data: {")
    done()

if watched == "token":
    from foreword import LLM
    generate = LLM.generate
    def first(self, *args, **options):
        generate(self, *args, **options)
        done()
    LLM.generate = first
elif watched != "end":
    threading.Thread(target=listens, daemon=True).start()
import foreword.cli.main
try:
    foreword.cli.main.run()
except SystemExit as end:
    if watched == "end" and not end.code:
        done()
    raise
"""


Case = tuple[str, str, str, Path]


def one_run(source: Path, what: str, model: str | None, cache: str, byte_code: str, port: int) -> tuple[float, float]:
    """Seconds of wall time and of CPU time."""
    named = [] if model is None else [model]
    watched, command = {
        SERVE: (f"ready {port}", ["serve", *named, "--port", str(port)]),
        ANSWER: (f"answer {port}", ["serve", *named, "--port", str(port)]),
        DEMO: ("token", ["demo", *(["--model", model] if model else [])]),
        HELP: ("end", ["--help"]),
    }[what]
    environment = {**os.environ, "PYTHONPATH": str(source), "XDG_CACHE_HOME": cache, "PYTHONPYCACHEPREFIX": byte_code}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = Path(cache) / "reached"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-c", CHILD, str(time.time()), watched, str(told), *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if not told.exists():
        raise SystemExit(f"{what} of {source} ended before that, with status {done.returncode}:\n{done.stdout}{done.stderr}")
    wall, cpu = map(float, told.read_text().split())
    return wall, cpu


def processor() -> str:
    """Its name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def measure(sources: list[Path], models: list[str | None], runs: int, port: int) -> dict[Case, list[tuple[float, float]]]:
    """(Wall, CPU) seconds of each run by what, model, first or second, and source tree."""
    found = defaultdict(list)
    cases = [(HELP, None), *((what, model) for model in models for what in (SERVE, ANSWER, DEMO))]
    with tempfile.TemporaryDirectory() as folder:
        for run in tqdm(range(runs + 1), unit="round"):
            for what, model in cases:
                for number, source in enumerate(sources):
                    with tempfile.TemporaryDirectory(dir=folder) as cache:
                        for which in ("first", "second"):
                            took = one_run(source, what, model, cache, f"{folder}/code{number}", port)
                            if run:
                                found[what, Path(model or "in the package").name, which, source].append(took)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="src folder of another tree")
    parser.add_argument("--port", type=int, default=8765)
    args = parser.parse_args()
    sources = [HERE] if args.beside is None else [HERE, args.beside]
    print(f"{processor()}, {os.cpu_count()} processors; medians of {args.runs}: wall seconds (least to most), CPU seconds")
    for (what, model, which, source), times in measure(sources, [None, *args.models], args.runs, args.port).items():
        wall, cpu = zip(*times, strict=True)
        tree = "" if len(sources) == 1 else ("here   " if source == HERE else "beside ")
        spread = f"({min(wall):.2f} to {max(wall):.2f})"
        print(f"{tree}{what:25} {model:16} {which:7} {median(wall):6.2f} {spread}  {median(cpu):6.2f}")


if __name__ == "__main__":
    main()

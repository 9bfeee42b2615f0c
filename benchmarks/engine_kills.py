"""Is every answer right, and every pack whole, after engines were killed (SIGKILL) at random points while they served?

python benchmarks/engine_kills.py [--kills 1000] [--seed 1] [--folder FOLDER]

The model in the package answers prompts; each engine begins on what the killed one before it has left in the store, and its
answers are compared with those of an engine without a store. (store_kills.py kills writers of packs alone.)
"""

import argparse
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path

from foreword.testing.killed_engine import kill_engines

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be tried")
    given = parser.parse_args()
    logging.getLogger("foreword").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name, count in asdict(kill_engines(Path(folder) / "packs", given.kills, given.seed)).items():
            print(f"{name:20} {count:,}")

"""Is every pack whole, and every block right, after writers were killed (SIGKILL) at random points?

python benchmarks/store_kills.py [--kills 1000] [--seed 1] [--folder FOLDER]
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from foreword.testing.killed_writer import kill_writers

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be tried")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name, count in asdict(kill_writers(Path(folder) / "packs", given.kills, given.seed)).items():
            print(f"{name:20} {count:,}")

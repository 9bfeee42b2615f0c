"""llama.cpp with any GGUF file, for the peers harness, whose own adapter knows two files by name.

    PEERS_ENV/venv-llama/bin/python PEERS/run.py benchmarks/llama_gguf_adapter.py gguf w1 --model FILE.gguf

Keys and values are in float16, llama.cpp's default.
"""

import tempfile
from pathlib import Path

from adapters.llama_batch import Engine  # type: ignore[import-not-found]


def load(file: str, precision: str, prefix_caching: bool) -> Engine:
    """The harness's engine; a link gives the file the name that it looks for."""
    if precision != "gguf":
        raise ValueError(f"precision is {precision!r}; a file has its own: 'gguf'")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model-q8_0.gguf").symlink_to(Path(file).resolve(strict=True))
        return Engine(f"{folder}/model", "q8_0", prefix_caching)

"""GGUF files on the hub: one of a repository, chosen by its quantisation."""

import re
from collections.abc import Callable
from pathlib import Path

from foreword.errors import ModelError
from foreword.weights.gguf_file import SPLIT

HUB_GGUF = re.compile(r"^(?P<name>[\w.-]+/[\w.-]+):(?P<quantisation>[\w.-]+)$")
"""``user/model:Q4_K_M``."""

Fetch = Callable[[str, list[str]], Path]
"""Downloads the files of a repository that match patterns, or finds them in the local hub cache: the directory."""


def gguf_from_hub(name: str, quantisation: str, fetch: Fetch | None = None) -> Path:
    """The GGUF file of that quantisation in a repository of the hub, all of its parts being there.

    ModelError where it cannot be fetched, or the repository has no such file.
    """
    either = "".join(f"[{sign.lower()}{sign.upper()}]" if sign.isalpha() else sign for sign in quantisation)
    try:
        directory = (fetch or _snapshot)(name, [f"*{either}*.gguf"])
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"GGUF files of {name!r} could not be fetched from the hub: {line} Check the name and the connection, or name a "
            f"file on this machine."
        ) from error
    wanted = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quantisation)}(?=[-.])", re.IGNORECASE)
    files = sorted(file.relative_to(directory) for file in directory.rglob("*.gguf"))
    models = [file for file in files if not file.name.startswith("mmproj")]
    found = [file for file in models if wanted.search(file.name) and _is_first(file)]
    if not found:
        there = f"; here are {', '.join(file.name for file in models[:8])}" if models else ""
        raise ModelError(
            f"The hub's {name!r} has no GGUF file of quantisation {quantisation!r}{there}. Look at the files in the "
            f"repository, and name the quantisation as they do."
        )
    return directory / min(found, key=lambda file: (len(file.name), file.name))


def _is_first(file: Path) -> bool:
    split = SPLIT.match(file.name)
    return split is None or int(split["part"]) == 1


def _snapshot(name: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=patterns))

"""The digest of our own code: what was compiled from it, or found out by it, is known by that."""

import hashlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path


def code_digest(folders: Iterable[str]) -> str:
    """Of all modules in these folders of the package, with their names, as they are installed."""
    package = Path(str(resources.files("foreword")))
    files = sorted(file for folder in folders for file in (package / folder).rglob("*.py"))
    return digest_of(part for file in files for part in (str(file.relative_to(package)).encode(), file.read_bytes()))


def digest_of(parts: Iterable[bytes]) -> str:
    """SHA-256 of parts, with where each of them ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()

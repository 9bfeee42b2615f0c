"""What lies in a folder of packs, read from the packs themselves; and what can be cleared away there."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foreword.errors import NotFoundError
from foreword.tiers.base import ROOT
from foreword.tiers.checksum import checksum
from foreword.tiers.pack_file import PackContents, UnreadablePack, read_contents
from foreword.tiers.pack_folder import PackFolder
from foreword.tiers.pack_shelf import PackShelf
from foreword.tiers.pieces import read_pieces


@dataclass
class IdentityReport:
    """What packs hold of one model, as it is fingerprinted (``text``; its digest in hexadecimal digits).

    blocks, prompts
        Distinct blocks, and those of them that are a prompt's first.
    longest
        Blocks of the longest prefix that is there whole, from its prompt's first.
    """

    digest: str
    text: str
    packs: int = 0
    size: int = 0
    blocks: int = 0
    prompts: int = 0
    longest: int = 0


@dataclass
class StoreReport:
    """A folder of packs. ``unreadable``: packs with the reason why they cannot be read."""

    identities: list[IdentityReport] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    set_aside: int = 0
    damaged: dict[str, int] = field(default_factory=dict)
    """Packs, and how many of their blocks have a wrong checksum; filled by ``check_store`` alone."""
    checked_blocks: int = 0


@dataclass(frozen=True)
class Cleared:
    """What was removed: files, and their bytes."""

    files: int
    size: int


def list_store(path: Path) -> StoreReport:
    """Read all footers. NotFoundError if there is no folder; OSError as of the system."""
    folder = _folder(path)
    report = StoreReport(set_aside=len(folder.set_aside_packs()))
    found: dict[bytes, IdentityReport] = {}
    parents: dict[bytes, dict[bytes, bytes]] = defaultdict(dict)
    for _, descriptor, contents in _packs(folder, report):
        identity = contents.identity
        told = found.setdefault(identity.digest, IdentityReport(identity.digest.hex(), identity.text))
        told.packs += 1
        told.size += os.fstat(descriptor).st_size
        parents[identity.digest].update((block.name, block.parent) for block in contents.blocks)
    for digest, told in found.items():
        told.blocks = len(parents[digest])
        told.prompts = sum(parent == ROOT for parent in parents[digest].values())
        told.longest = _longest(parents[digest])
    report.identities = sorted(found.values(), key=lambda each: -each.size)
    return report


def check_store(path: Path) -> StoreReport:
    """The same, after every block was read and compared with its checksum."""
    report = list_store(path)
    for file, descriptor, contents in _packs(_folder(path), StoreReport()):
        wrong = 0
        for block in contents.blocks:
            kv = [memoryview(bytearray(block.length))]
            wrong += not (read_pieces(descriptor, block.offset, kv) and checksum(kv) == block.checksum)
        report.checked_blocks += len(contents.blocks)
        if wrong:
            report.damaged[file] = wrong
    return report


def collect_garbage(path: Path, max_bytes: int | None = None) -> Cleared:
    """Remove what was set aside and what dead writers left; then the packs used least recently, down to ``max_bytes``."""
    _check_there(path)
    before = _sizes(path)
    shelf = PackShelf(path)
    for bad in shelf.folder.set_aside_packs():
        shelf.folder.remove(bad)
    if max_bytes is not None:
        shelf.read_all()
        while shelf.index.totals()[1] > max_bytes and (file := shelf.index.least_used(time.time())) is not None:
            shelf.remove(file)
    shelf.close()
    return _cleared(path, before)


def remove_packs(path: Path, identity: str | None = None) -> Cleared:
    """Remove all packs, or those of an identity, by the first digits of its digest (NotFoundError if there is none)."""
    folder = _folder(path)
    before = _sizes(path)
    going = [
        file
        for file, _, contents in _packs(folder, StoreReport())
        if identity is None or contents.identity.digest.hex().startswith(identity)
    ]
    if identity is not None and not going:
        raise NotFoundError(f"No pack in {path} is of an identity {identity!r}; `foreword store ls {path}` lists them.")
    for file in going:
        folder.remove(file)
    return _cleared(path, before)


def _folder(path: Path) -> PackFolder:
    _check_there(path)
    return PackFolder(path)


def _check_there(path: Path) -> None:
    if not path.is_dir():
        raise NotFoundError(f"There is no store at {path}: it is no folder.")


def _packs(folder: PackFolder, report: StoreReport) -> Iterator[tuple[str, int, PackContents]]:
    """Packs that can be read, open; of the others the report says why not."""
    for file in folder.oldest_first(folder.packs()):
        try:
            with folder.reading(file) as descriptor:
                yield file, descriptor, read_contents(descriptor)
        except FileNotFoundError:
            continue
        except UnreadablePack as error:
            report.unreadable[file] = str(error)


def _longest(parents: dict[bytes, bytes]) -> int:
    """Blocks of the longest chain from ROOT."""
    depths: dict[bytes, int] = {ROOT: 0}
    for name in parents:
        chain = []
        at: bytes | None = name
        while at is not None and at not in depths:
            chain.append(at)
            at = parents.get(at)
        depth = depths[at] if at is not None else -len(parents)  # its beginning is not here
        for number, each in enumerate(reversed(chain), 1):
            depths[each] = depth + number
    return max(depths.values())


def _sizes(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.iterdir() if not file.name.startswith("index.")}


def _cleared(path: Path, before: dict[str, int]) -> Cleared:
    gone: Sequence[str] = sorted(before.keys() - _sizes(path).keys())
    return Cleared(len(gone), sum(before[file] for file in gone))

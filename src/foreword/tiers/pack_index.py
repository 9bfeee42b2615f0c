"""Where blocks lie in the packs of a folder: an SQLite file that is made of the packs' footers, and can be made again.

Several processes may have it open. Uses are counted, not timed, so that a clock that is set back changes nothing.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from foreword.tiers.pack_file import PackContents

SCHEMA_VERSION = 1
SCHEMA = """
create table packs (id integer primary key, file text unique, bytes integer, blocks integer, identity blob, text text,
                    kept_until real, used real);
create table blocks (name blob unique, pack integer, offset integer, length integer, checksum blob, tokens blob,
                     used integer);
create index blocks_of_pack on blocks (pack);
create table written (day text primary key, bytes integer);
"""
SUFFIXES = ("", "-wal", "-shm")
BUSY_SECONDS = 5.0
CACHE_KIB = 65_536
"""At most: the names of a million blocks."""
NAMES_AT_ONCE = 512
UNWRITTEN_USES = 4096


class Place(NamedTuple):
    """Where a block lies: bytes [offset, offset + length) of a file in the folder."""

    file: str
    identity: bytes
    offset: int
    length: int
    checksum: bytes
    tokens: bytes


class ReadPack(NamedTuple):
    """A pack whose footer has been read: its file, bytes, contents, and until when it is kept by a note beside it."""

    file: str
    size: int
    contents: PackContents
    kept_until: float = 0.0


class PackIndex:
    """The index of one folder. May be used by several threads. sqlite3.Error where its file is damaged, gone or full."""

    def __init__(self, path: Path):
        """Opens the file, or makes it. One of another version, or that is no index, is made anew.

        OSError where a folder has its name and cannot be put aside.
        """
        self._lock = threading.Lock()
        self._uses: dict[bytes, int] = {}
        if path.is_dir():
            path.rename(path.with_name(f"{path.name}.bad"))
        try:
            self._database, self._tick = _opened(path)
        except sqlite3.OperationalError:  # busy, or not ours to write
            raise
        except sqlite3.DatabaseError:
            for suffix in SUFFIXES:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            self._database, self._tick = _opened(path)

    def find(self, names: Collection[bytes]) -> dict[bytes, Place]:
        """Where those of the blocks lie that are there."""
        columns = "name, file, identity, offset, length, checksum, tokens"
        return {name: Place(*place) for name, *place in self._select(columns, "blocks join packs on packs.id = pack", names)}

    def present(self, names: Collection[bytes]) -> set[bytes]:
        """Which of the blocks are there."""
        return {name for (name,) in self._select("name", "blocks", names)}

    def add(self, packs: Sequence[ReadPack]) -> None:
        """Enter packs, one after another. A block that is in several is read from the one that was entered last.

        One that was entered before is entered again, with what it says now.
        """
        with self._writing() as database:
            for pack in packs:
                self._tick += 1
                _add(database, pack, self._tick)

    def drop(self, file: str) -> None:
        """Take a pack out."""
        with self._writing() as database:
            database.execute("delete from blocks where pack = (select id from packs where file = ?)", [file])
            database.execute("delete from packs where file = ?", [file])

    def forget(self, name: bytes) -> None:
        """Take a block out, as its pack has it damaged."""
        with self._writing() as database:
            database.execute("delete from blocks where name = ?", [name])

    def files(self) -> set[str]:
        """Packs that are entered."""
        return {file for (file,) in self._rows("select file from packs")}

    def totals(self) -> tuple[int, int]:
        """Blocks and bytes of all packs."""
        ((blocks, size),) = self._rows("select coalesce(sum(blocks), 0), coalesce(sum(bytes), 0) from packs")
        return blocks, size

    def use(self, names: Collection[bytes]) -> None:
        """The blocks have been used, all at once; written down some time later."""
        with self._lock:
            self._tick += 1
            self._uses.update(dict.fromkeys(names, self._tick))
            full = len(self._uses) >= UNWRITTEN_USES
        if full:
            self.write_uses()

    def write_uses(self) -> None:
        """Write down what has been used; a pack's use is the mean of its blocks'. On a full disk they are forgotten."""
        with self._lock:
            uses, self._uses = self._uses, {}
        try:
            self._write_uses(uses)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise

    def _write_uses(self, uses: dict[bytes, int]) -> None:
        if not uses:
            return
        with self._writing() as database:
            database.executemany("update blocks set used = ? where name = ?", ((used, name) for name, used in uses.items()))
            packs = {pack for name in uses for (pack,) in database.execute("select pack from blocks where name = ?", [name])}
            database.executemany(
                "update packs set used = (select avg(used) from blocks where pack = packs.id) where id = ?",
                ((pack,) for pack in packs),
            )

    def keep(self, names: Collection[bytes], until: float) -> list[str]:
        """Packs of these blocks are kept until then, at least; returns those for which that is later than before."""
        kept = dict(self._select("distinct file, kept_until", "blocks join packs on packs.id = pack", names))
        longer = [file for file, before in kept.items() if before < until]
        if longer:
            with self._writing() as database:
                database.executemany("update packs set kept_until = ? where file = ?", ((until, file) for file in longer))
        return longer

    def least_used(self, now: float) -> str | None:
        """The pack that goes first: one that need not be kept any more, used least recently. None if there is none."""
        self.write_uses()
        found = self._rows("select file from packs order by kept_until > ?, used limit 1", now)
        return found[0][0] if found else None

    def identities(self) -> list[tuple[bytes, str]]:
        """Digest and text of those of which there are packs, the latest first."""
        return list(self._rows("select identity, text from packs group by identity order by max(id) desc"))

    def size_of(self, file: str) -> int:
        """Bytes of a pack; 0 if it is not entered."""
        found = self._rows("select bytes from packs where file = ?", file)
        return int(found[0][0]) if found else 0

    def names_in(self, file: str, hot: bool = False) -> list[bytes]:
        """Blocks for which a pack counts, the last used first; ``hot``: those used later than the mean of all packs."""
        later = "and blocks.used > (select avg(used) from packs)" if hot else ""
        query = f"select name from blocks join packs on packs.id = pack where file = ? {later} order by blocks.used desc"
        return [name for (name,) in self._rows(query, file)]

    def count_written(self, day: str, size: int) -> None:
        """Add to the bytes that were written on a day."""
        with self._writing() as database:
            database.execute("insert or ignore into written values (?, 0)", [day])
            database.execute("update written set bytes = bytes + ? where day = ?", [size, day])

    def written(self, day: str) -> int:
        """Bytes that were written on a day, by all processes."""
        found = self._rows("select bytes from written where day = ?", day)
        return int(found[0][0]) if found else 0

    def close(self) -> None:
        """Write down uses and close the file."""
        self.write_uses()
        with self._lock:
            self._database.close()

    def _select(self, columns: str, table: str, names: Collection[bytes]) -> Iterator[tuple[Any, ...]]:
        asked = list(names)
        for at in range(0, len(asked), NAMES_AT_ONCE):
            some = asked[at : at + NAMES_AT_ONCE]
            yield from self._rows(f"select {columns} from {table} where name in ({', '.join('?' * len(some))})", *some)

    def _rows(self, query: str, *values: object) -> Sequence[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                if self._database.in_transaction:  # a full disk has rolled it back
                    self._database.execute("rollback")
                raise
            self._database.execute("commit")


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk had no room for what was to be written; what is in the index can still be read."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _opened(path: Path) -> tuple[sqlite3.Connection, int]:
    """The database, and the latest use of a pack."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute(f"pragma cache_size = -{CACHE_KIB}")
        database.execute("begin immediate")
        (version,) = database.execute("pragma user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, SCHEMA.split(";")):
                database.execute(statement)
            database.execute(f"pragma user_version = {SCHEMA_VERSION}")
        database.execute("commit")
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"the index is of version {version}")
        database.execute("select count(*) from packs")
        (tick,) = database.execute("select cast(coalesce(max(used), 0) as integer) from packs").fetchone()
    except sqlite3.Error:
        database.close()
        raise
    return database, tick


def _add(database: sqlite3.Connection, pack: ReadPack, tick: int) -> None:
    file, size, contents, noted = pack
    kept_until = max((block.kept_until for block in contents.blocks), default=0.0)
    identity = contents.identity
    database.execute("delete from blocks where pack = (select id from packs where file = ?)", [file])
    again = database.execute("delete from packs where file = ?", [file]).rowcount
    row = (file, size, len(contents.blocks), identity.digest, identity.text, max(kept_until, noted), tick)
    columns = "file, bytes, blocks, identity, text, kept_until, used"
    number = database.execute(f"insert into packs ({columns}) values (?, ?, ?, ?, ?, ?, ?)", row).lastrowid
    database.executemany(
        f"insert or {'ignore' if again else 'replace'} into blocks values (?, ?, ?, ?, ?, ?, ?)",
        ((each.name, number, each.offset, each.length, each.checksum, each.tokens, tick) for each in contents.blocks),
    )

"""Blocks in an object store (S3, Google Cloud, Azure): an object for each, many requests at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from foreword.errors import StoreFailed
from foreword.lazy import extra_needed
from foreword.tiers.base import BlockKey, Outcome, Pieces, StoreUsage
from foreword.tiers.identity import Identity
from foreword.tiers.pieces import gather
from foreword.tiers.value_format import open_value, value_pieces

with extra_needed("An object store", "tiers"):
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import ObjectStore, from_url

REQUESTS_AT_ONCE = 8
ANSWER_SECONDS = 5
PREFIX = "kv1"

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def object_store(url: str) -> ObjectStore:
    """A client for s3://bucket/path, gs://, az://; the environment has region and credentials. StoreFailed if it has not."""
    bound = timedelta(seconds=ANSWER_SECONDS)
    try:
        return from_url(
            url,
            client_options={"timeout": bound, "connect_timeout": bound},
            retry_config={"max_retries": 1, "retry_timeout": bound},
        )
    except (BaseError, ValueError) as error:
        words = str(error).partition("\n")[0].rstrip(".")  # what comes then is its inside
        raise StoreFailed(f"The object store {url} cannot be used: {words}.") from error


class ObjectBlocks:
    """A BlockStore of objects ``kv1/ab/abcd...``; a rule of the bucket's lifecycle makes room."""

    def __init__(self, store: ObjectStore, identity: Identity):
        self._store = store
        self._identity = identity
        self._written = 0
        self._requests = ThreadPoolExecutor(REQUESTS_AT_ONCE, "foreword-objects")

    def exists_many(self, names: Sequence[bytes]) -> list[bool]:
        """Which of the blocks have an object: a request for each, some at once."""
        return self._all(self._exists, names)

    def get_many(self, keys: Sequence[BlockKey], into: Sequence[Pieces]) -> list[Outcome]:
        """Read the blocks' objects."""
        return self._all(self._get, list(zip(keys, into, strict=True)))

    def put_many(self, keys: Sequence[BlockKey], blocks: Sequence[Pieces], keep_until: float = 0.0) -> int:
        """Write an object for each that has none; ``keep_until`` is up to the bucket."""
        del keep_until
        there = self.exists_many([key.name for key in keys])
        new = {key.name: (key, pieces) for key, pieces, found in zip(keys, blocks, there, strict=True) if not found}
        self._written += sum(self._all(self._put, list(new.values())))
        return len(keys)

    def delete_many(self, names: Sequence[bytes]) -> int:
        """Remove the blocks' objects."""
        there = [name for name, found in zip(names, self.exists_many(names), strict=True) if found]
        with _failures():
            obstore.delete(self._store, [_path(name) for name in set(there)])
        return len(set(there))

    def flush(self) -> None:
        """Nothing is left to do: a block that was taken is an object."""

    def usage(self) -> StoreUsage:
        """What this process has written."""
        return StoreUsage(written_bytes=self._written)

    def close(self) -> None:
        """End the threads."""
        self._requests.shutdown()

    def _exists(self, name: bytes) -> bool:
        try:
            obstore.head(self._store, _path(name))
        except FileNotFoundError:
            return False
        return True

    def _get(self, wanted: tuple[BlockKey, Pieces]) -> Outcome:
        key, into = wanted
        try:
            value = memoryview(obstore.get(self._store, _path(key.name)).bytes())
        except FileNotFoundError:
            return Outcome.MISSING
        outcome = open_value(value, key, into, self._identity.digest)
        if outcome is Outcome.CORRUPT:
            obstore.delete(self._store, _path(key.name))  # so that it is written again
        return outcome

    def _put(self, block: tuple[BlockKey, Pieces]) -> int:
        value = gather(value_pieces(*block, self._identity.digest))
        obstore.put(self._store, _path(block[0].name), value)
        return len(value)

    def _all(self, ask: Callable[[Asked], Answer], asked: Sequence[Asked]) -> list[Answer]:
        with _failures():
            return list(self._requests.map(ask, asked))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        raise StoreFailed(f"The object store failed: {error}.") from error


def _path(name: bytes) -> str:
    text = name.hex()
    return f"{PREFIX}/{text[:2]}/{text}"

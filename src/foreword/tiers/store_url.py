"""The URL of a shared store: which kinds there are, and what is wrong with one."""

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from foreword.config import require
from foreword.errors import ConfigError

FILE = "file"
VALKEY = ("valkey", "valkeys", "redis", "rediss")
OBJECTS = ("s3", "gs", "az")
KNOWN = ", ".join(f"{scheme}://" for scheme in (FILE, *VALKEY, *OBJECTS))


def checked_url(url: str) -> SplitResult:
    """The parts of a store's URL; ConfigError says what is wrong with it. Nobody is asked, and nothing opened."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, and so checked
    except ValueError as error:
        raise ConfigError(
            f"{shown_url(url)!r} is no URL: {error}. A shared store is given as valkey://host:6379, say."
        ) from error
    if parts.scheme == FILE:
        _check_folder(url, parts)
    elif parts.scheme in VALKEY:
        database = parts.path.strip("/")
        require(
            bool(parts.hostname) and (database.isdecimal() or not database),
            f"A Valkey server is given as valkey://host:6379, with /1 for its database 1; got {shown_url(url)!r}.",
        )
    elif parts.scheme in OBJECTS:
        require(
            bool(parts.netloc) and not (parts.query or parts.fragment),
            f"An object store is given as {parts.scheme}://bucket/path, its region and keys in the environment; "
            f"got {shown_url(url)!r}.",
        )
    else:
        raise ConfigError(f"The URL of a shared store begins with one of {KNOWN}; got {shown_url(url)!r}.")
    return parts


def folder_of(parts: SplitResult) -> Path:
    """The folder that file:///a/folder names, whose path is written as in URLs (%20 for a blank)."""
    return Path(unquote(parts.path))


def shown_url(url: str) -> str:
    """The URL without a password, also of what is no URL."""
    scheme, slashes, rest = url.partition("//")
    return scheme + slashes + rest.rpartition("@")[2]


def _check_folder(url: str, parts: SplitResult) -> None:
    require(
        not parts.netloc and bool(parts.path.strip("/")) and folder_of(parts).is_absolute(),
        f"The folder of a shared store is given from the root, as file:///a/folder; got {url!r}.",
    )
    require(
        not (parts.query or parts.fragment or "\0" in str(folder_of(parts))),
        f"The folder of a shared store is a path, with %3F for ? and %23 for #; got {url!r}.",
    )

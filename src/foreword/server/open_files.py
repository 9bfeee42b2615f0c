"""How many connections the process can have: each needs an open file, and so do the engine, the log and the pages."""

import resource
from dataclasses import dataclass
from pathlib import Path

SPARE = 32
"""Open files for what is neither there yet nor a connection."""
MOST_WAITING = 2048
"""Connections that the system may hold ready for us, at most."""
LEAST = 8


@dataclass(frozen=True, slots=True)
class ConnectionRoom:
    """So many connections at a time, beside those that may wait to be taken. ``warning``: that they are fewer than asked."""

    connections: int
    waiting: int
    warning: str | None = None


def connection_room(wanted: int) -> ConnectionRoom:
    """Room for so many connections; the process's limit of open files is raised as far as needed, if it may be."""
    used = _open_files()
    needed = used + SPARE + wanted + wanted // 3
    limit = _raise_limit(needed)
    room = max(LEAST, limit - used - SPARE)
    if limit >= needed:
        return ConnectionRoom(wanted, min(MOST_WAITING, room - wanted))
    connections = min(wanted, room * 3 // 4)
    warning = (
        f"The process may have {limit} open files, and has {used}: at most {connections} connections at a time instead of "
        f"{wanted}. Raise the limit (ulimit -n {needed}), or lower --max-connections."
    )
    return ConnectionRoom(connections, max(LEAST, room - connections), warning)


def _raise_limit(needed: int) -> int:
    """The limit of open files, raised to ``needed`` if it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = needed if soft == resource.RLIM_INFINITY else soft
    if soft >= needed:
        return soft
    raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        return soft
    return raised


def _open_files() -> int:
    """How many files the process has open; a guess where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(list(Path(folder).iterdir()))
        except OSError:
            continue
    return SPARE

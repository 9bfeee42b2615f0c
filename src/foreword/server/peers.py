"""Whether the other end of a connection on this machine still has it open, which the system's table of sockets tells."""

import ipaddress
import struct
from pathlib import Path

TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}
LOCAL, REMOTE, INODE = 1, 2, 9
"""Columns of the tables. A socket that no process has any more is still listed for a while, without an inode."""


def is_open(own: tuple[str, int], peer: tuple[str, int]) -> bool | None:
    """Whether a process has the socket at the peer's end; None where that cannot be known: elsewhere, another system."""
    try:
        if not ipaddress.ip_address(peer[0]).is_loopback:
            return None
        from_peer = [_in_table(peer), _in_table(own)]
        with TABLES[ipaddress.ip_address(peer[0]).version].open(encoding="ascii") as table:
            for line in table:
                columns = line.split()
                if columns[LOCAL : REMOTE + 1] == from_peer:
                    return columns[INODE] != "0"
    except (OSError, ValueError, LookupError):
        return None
    return False


def _in_table(address: tuple[str, int]) -> str:
    """As the tables write it: words of four bytes in the processor's order, and the port."""
    packed = ipaddress.ip_address(address[0]).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"

"""A router's end of the KV events, written from the format's description: MessagePack, an index, a subscriber."""

import struct
from dataclasses import dataclass, field
from typing import Any

import zmq

SECONDS = 10.0
Blocks = dict[int, tuple[int | None, tuple[int, ...]]]


def unpacked(data: bytes) -> Any:
    """The value that MessagePack bytes stand for. ValueError for what is left over, or not used in this format."""
    value, end = _value(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes are left over")
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 0x100, at
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag in NUMBERS:
        form = NUMBERS[tag]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if tag in LENGTHS:
        kind, form = LENGTHS[tag]
        count, at = struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    elif 0x80 <= tag <= 0x8F:
        kind, count = "map", tag & 0x0F
    elif 0x90 <= tag <= 0x9F:
        kind, count = "array", tag & 0x0F
    else:
        kind, count = "text", tag & 0x1F
    if kind == "text":
        return data[at : at + count].decode(), at + count
    items = []
    for _ in range(count * (2 if kind == "map" else 1)):
        item, at = _value(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == "map" else items), at


NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
LENGTHS = {
    0xD9: ("text", ">B"), 0xDA: ("text", ">H"), 0xDB: ("text", ">I"),
    0xDC: ("array", ">H"), 0xDD: ("array", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip


@dataclass
class Subscriber:
    """An index of one server's blocks: the parent and the tokens of each, by its hash. It asks for what it has missed.

    blocks, stored
        In memory, and in stores below it.

    waiting
        Messages that its socket keeps for it.
    number
        Of the last batch that was applied; -1 before the first.
    gaps
        How often some were missing.
    """

    endpoint: str
    replay_endpoint: str
    topic: str = ""
    waiting: int = 1000
    blocks: Blocks = field(default_factory=dict)
    stored: Blocks = field(default_factory=dict)
    number: int = -1
    gaps: int = 0

    def __post_init__(self) -> None:
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.rcvtimeo = int(SECONDS * 1000)
        self.socket.rcvhwm = self.waiting
        self.socket.subscribe(self.topic)
        self.socket.connect(self.endpoint)

    def close(self) -> None:
        self.context.destroy(linger=0)

    def take(self) -> None:
        """Wait for a message and apply it, after what was lost before it."""
        _, number, payload = self.socket.recv_multipart()
        self.apply(int.from_bytes(number, "big"), payload)

    def catch_up(self, until: int) -> None:
        """Take messages until one has this number."""
        while self.number < until:
            self.take()

    def apply(self, number: int, payload: bytes) -> None:
        if number <= self.number:
            return
        if number > self.number + 1:
            self.gaps += 1
            for missed, batch in self.ask(self.number + 1):
                self._apply(missed, batch)
        if number > self.number:
            self._apply(number, payload)

    def ask(self, start: int) -> list[tuple[int, bytes]]:
        """What the other socket has from a number on."""
        asking = self.context.socket(zmq.DEALER)
        asking.rcvtimeo = int(SECONDS * 1000)
        with asking:
            asking.connect(self.replay_endpoint)
            asking.send_multipart((b"", start.to_bytes(8, "big")))
            found: list[tuple[int, bytes]] = []
            while True:
                empty, topic, number, payload = asking.recv_multipart()
                assert not empty
                if number == b"\xff" * 8:
                    assert not topic
                    assert not payload
                    return found
                assert topic == self.topic.encode()
                found.append((int.from_bytes(number, "big"), payload))

    def paths(self, stored: bool = False) -> list[tuple[int, ...]]:
        """The tokens of every block with all before it, sorted: of those in memory, or in stores."""
        blocks = self.stored if stored else self.blocks
        found: dict[int | None, tuple[int, ...]] = {None: ()}
        for name, (parent, tokens) in blocks.items():  # parents have come before children
            found[name] = (*found[parent], *tokens)
        return sorted(found[name] for name in blocks)

    def snapshot(self) -> None:
        """Begin anew with all that there is."""
        for number, payload in self.ask(2**64 - 1):
            self._apply(number, payload)

    def _apply(self, number: int, payload: bytes) -> None:
        seconds, events, rank = unpacked(payload)
        assert isinstance(seconds, float)
        assert rank == 0
        for event in events:
            self._event(dict(event))
        self.number = number

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.pop("type")
        if kind == "AllBlocksCleared":
            self.blocks.clear()
            self.stored.clear()
            return
        blocks = {"GPU": self.blocks, "STORAGE": self.stored}[event["medium"]]
        if kind == "BlockRemoved":
            for name in event["block_hashes"]:
                del blocks[name]
            gone = set(event["block_hashes"])
            assert not any(parent in gone for parent, _ in blocks.values()), "a child is left"
        else:
            assert kind == "BlockStored"
            size, parent, tokens = event["block_size"], event["parent_block_hash"], event["token_ids"]
            assert parent is None or parent in blocks, "an unknown parent"
            assert len(tokens) == size * len(event["block_hashes"])
            for place, name in enumerate(event["block_hashes"]):
                assert name not in blocks, "stored twice"
                blocks[name] = parent, tuple(tokens[place * size : (place + 1) * size])
                parent = name

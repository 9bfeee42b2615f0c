"""Near-twins: prompts that part early, at a value such as a timestamp, and go on alike; and what it would save to mend that.

A group is a shared beginning (``head``), the few tokens in which its prompts differ, and the words that follow in all of
them (``anchor``). What would be saved is not guessed: the rests of the prompts, from the anchor on, are kept in a sketch
of their own, in which each new one is looked up as if the differing value were the same in all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from foreword.observe.alignment import RUN, WINDOW, find_tokens, meet
from foreword.observe.prefixes import PrefixSketch
from foreword.tokens import TOKEN_BYTES, shared_tokens

EXAMPLES = 4  # differing values kept
PATIENCE = 64  # searches that may find nothing, one after another
SELDOM = 8  # after them only one prompt in so many is searched for, by its checksum: no rhythm of prompts evades that
LEAST_ALIKE = WINDOW + RUN  # tokens after the value that two prompts must share to be near-twins
ANCHOR = 2 * RUN


@dataclass(frozen=True, slots=True)
class TwinGroup:
    """Prompts that differ in a few tokens at ``position`` and are alike after.

    head
        Packed: the tokens before the place.
    values
        Packed: some of what stood in that place.
    anchor
        Packed: the first tokens that are alike again.
    requests, computed_tokens
        The requests of the group, and the prompt tokens computed for them.
    saved_tokens
        Of those, how many would have been hits if the value had been the same in all.
    last_use
        Seconds of the engine's clock.
    """

    namespace: bytes
    position: int
    head: bytes
    values: tuple[bytes, ...]
    anchor: bytes
    requests: int
    computed_tokens: int
    saved_tokens: int
    last_use: float

    @property
    def saving(self) -> float:
        """The share (0 to 1) of the group's computed prompt tokens that mending would save."""
        return self.saved_tokens / self.computed_tokens if self.computed_tokens else 0.0


@dataclass(slots=True)
class _Group:
    namespace: bytes
    head: bytes
    anchor: bytes
    rests: PrefixSketch
    values: dict[bytes, None] = field(default_factory=dict)
    requests: int = 0
    computed_tokens: int = 0
    saved_tokens: int = 0
    last_use: float = 0.0


class NearTwins:
    """At most ``max_groups`` groups, each with a sketch of at most ``max_tokens`` tokens."""

    def __init__(self, max_groups: int = 16, max_tokens: int = 100_000):
        self.max_groups = max_groups
        self.max_tokens = max_tokens
        self._groups: list[_Group] = []
        self._in_vain = 0  # prompts without a group since the last one that had one

    def observe(self, namespace: bytes, prompt: bytes, reused: int, others: Iterable[bytes], now: float) -> None:
        """A request (packed) of which ``reused`` tokens were not computed; ``others``: earlier prompts it may be a twin of.

        ``others`` is only read if the prompt belongs to no group yet; where that has long found nothing, not each time.
        """
        length = len(prompt) // TOKEN_BYTES
        found = self._group_of(namespace, prompt) or self._search(namespace, prompt, others)
        if found is None:
            return
        group, anchor_at = found
        rest = prompt[anchor_at * TOKEN_BYTES :]
        alike = group.rests.match(namespace, rest)
        group.rests.observe(namespace, rest)
        group.requests += 1
        group.last_use = now
        group.computed_tokens += length - reused
        group.saved_tokens += max(0, min(anchor_at + alike, length - 1) - reused)
        if len(group.values) < EXAMPLES:
            group.values[prompt[len(group.head) : anchor_at * TOKEN_BYTES]] = None

    def snapshot(self) -> tuple[TwinGroup, ...]:
        """The groups, those where most would be saved first."""
        groups = [
            TwinGroup(
                namespace=group.namespace,
                position=len(group.head) // TOKEN_BYTES,
                head=group.head,
                values=tuple(group.values),
                anchor=group.anchor,
                requests=group.requests,
                computed_tokens=group.computed_tokens,
                saved_tokens=group.saved_tokens,
                last_use=group.last_use,
            )
            for group in self._groups
        ]
        return tuple(sorted(groups, key=lambda group: group.saved_tokens, reverse=True))

    def _group_of(self, namespace: bytes, prompt: bytes) -> tuple[_Group, int] | None:
        """The group of a prompt that parts where the group's do, and where its anchor stands."""
        for group in self._groups:
            start = len(group.head) // TOKEN_BYTES
            if group.namespace != namespace or not prompt.startswith(group.head):
                continue
            window = prompt[: (start + WINDOW + ANCHOR) * TOKEN_BYTES]
            at = find_tokens(window, group.anchor, start)
            if at is None:
                at = self._shorten_anchor(group, window, start)
            if at is not None:
                return group, at
        return None

    def _shorten_anchor(self, group: _Group, window: bytes, start: int) -> int | None:
        """The anchor began within the value, where the first two happened to be alike: let it begin later."""
        for cut in range(1, len(group.anchor) // TOKEN_BYTES - RUN + 1):
            shorter = group.anchor[cut * TOKEN_BYTES :]
            at = find_tokens(window, shorter, start)
            if at is not None:
                group.values = {value + group.anchor[: cut * TOKEN_BYTES]: None for value in group.values}
                group.anchor = shorter
                group.rests = PrefixSketch(max_tokens=self.max_tokens)
                return at
        return None

    def _search(self, namespace: bytes, prompt: bytes, others: Iterable[bytes]) -> tuple[_Group, int] | None:
        """As ``_found``, but seldom where one search after another was in vain."""
        self._in_vain += 1
        if self._in_vain > PATIENCE and crc32(prompt) % SELDOM:
            return None
        found = self._found(namespace, prompt, others)
        if found is not None:
            self._in_vain = 0
        return found

    def _found(self, namespace: bytes, prompt: bytes, others: Iterable[bytes]) -> tuple[_Group, int] | None:
        """A new group, of a prompt and the earlier one it is most alike to; or an old one that now begins earlier."""
        best: tuple[int, int, int, bytes] | None = None
        for other in others:
            at = shared_tokens(prompt, other)
            meeting = meet(other, prompt, at) if _go_on_alike(other, prompt, at) else None
            if meeting is not None and meeting.alike >= LEAST_ALIKE and (best is None or meeting.alike > best[0]):
                best = (meeting.alike, at, at + meeting.new_skip, other[(at + meeting.old_skip) * TOKEN_BYTES :])
        if best is None:
            return None
        _, at, anchor_at, other_rest = best
        anchor = prompt[anchor_at * TOKEN_BYTES : (anchor_at + ANCHOR) * TOKEN_BYTES]
        for group in self._groups:
            start = len(group.head) // TOKEN_BYTES
            near = start - WINDOW <= at < start and find_tokens(group.anchor, anchor[-RUN * TOKEN_BYTES :]) is not None
            if group.namespace == namespace and near and prompt.startswith(group.head[: at * TOKEN_BYTES]):
                group.values = {group.head[at * TOKEN_BYTES :] + value: None for value in group.values}
                group.head = group.head[: at * TOKEN_BYTES]
                return self._group_of(namespace, prompt)
        group = _Group(namespace, prompt[: at * TOKEN_BYTES], anchor, PrefixSketch(max_tokens=self.max_tokens))
        group.rests.observe(namespace, other_rest)
        if len(self._groups) >= self.max_groups:
            self._groups.remove(min(self._groups, key=lambda group: (group.saved_tokens, group.last_use)))
        self._groups.append(group)
        return group, anchor_at


def _go_on_alike(old: bytes, new: bytes, at: int) -> bool:
    """A quick look whether two prompts that part at a token may be near-twins: most are not."""
    reach = old[at * TOKEN_BYTES : (at + 2 * WINDOW + RUN) * TOKEN_BYTES]
    needle = new[(at + WINDOW) * TOKEN_BYTES : (at + WINDOW + RUN) * TOKEN_BYTES]
    return len(needle) == RUN * TOKEN_BYTES and find_tokens(reach, needle) is not None

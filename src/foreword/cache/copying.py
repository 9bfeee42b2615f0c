"""Copying: the block in which a prompt leaves a cached prefix is begun with a copy of the tokens that both share.

The source may still be computed when the request comes. It is pinned, so that it stays as it is when its owner frees it;
the copy is an action of the first step at which it is readable, and forgotten when somebody else computes the same, or
nobody any more what was to be copied. The *frontier* of a request is the first token that it has to compute itself.
"""

from foreword.cache.actions import Actions, CopyBlock
from foreword.cache.lookup import Lookup
from foreword.cache.pool import BlockPool
from foreword.cache.reservation import Hold
from foreword.cache.tree import Node, first_unplanned


class Copying:
    """The copies that requests wait for."""

    def __init__(self, pool: BlockPool, actions: Actions, block_size: int):
        self._pool = pool
        self._actions = actions
        self._size = block_size

    def wait(self, hold: Hold, lookup: Lookup, source: Node, block: int) -> None:
        """The first tokens of the block behind the backed ones are to be copied as soon as their source is readable.

        ``block`` is the source's, and pinned already.
        """
        target = hold.blocks[lookup.backed // self._size]
        hold.copy = CopyBlock(block, target, lookup.partial)
        hold.copy_at = lookup.backed
        hold.copy_source = None if lookup.cached == lookup.reach else source
        if not lookup.whole or lookup.backed < lookup.aligned:
            assert hold.node is not None
            first = hold.node
            while first.start > lookup.backed:
                assert first.parent is not None
                first = first.parent
            first.copier = hold

    def plan(self, hold: Hold, start: int, end: int) -> int:
        """A step is to compute [start, end): ask for the copy if it comes before that; returns where the step has to end."""
        if hold.copy is None:
            return end
        if start < hold.copy_at:
            return min(end, hold.copy_at)
        self._actions.add(hold.copy)
        return end

    def abandon(self, hold: Hold) -> None:
        """The step that was planned is not going to run."""
        if hold.span is not None and hold.copy is not None:
            self._actions.withdraw(hold.copy)

    def forget(self, hold: Hold) -> None:
        """The copy has run, or is not needed any more. Harmless if there is none."""
        if hold.copy is None:
            return
        self._pool.unpin(hold.copy.source)
        hold.copy = hold.copy_source = None
        node = hold.node
        while node is not None and node.start >= hold.copy_at:
            if node.copier is hold:
                node.copier = None
            node = node.parent

    def frontier(self, hold: Hold) -> int | None:
        """The first token that this request has to compute itself, or None while another one or a lower tier brings it."""
        if hold.copy is None and hold.computed >= hold.shared_end:
            return hold.computed
        assert hold.node is not None
        reached, node = first_unplanned(hold.node)
        if hold.copy is not None and reached > hold.copy_at:
            self.forget(hold)  # somebody who shares the edge has computed it meanwhile
        if node.load is not None and node.load.start <= reached < node.load.until:
            return None
        copy = hold.copy
        if copy is None or reached < hold.copy_at:
            if node.copier is not None and node.start == reached and node.copier is not hold:
                return None
            return max(hold.computed, reached)
        if hold.copy_source is not None:
            readable, coming = self._source_state(hold.copy_source, copy.source, hold.copy_at)
            if readable < copy.tokens:
                if coming:
                    return None
                if readable <= 0:
                    self.forget(hold)
                    return reached
                copy = hold.copy = CopyBlock(copy.source, copy.target, readable)
            hold.copy_source = None
        return reached + copy.tokens

    def _source_state(self, source: Node, block: int, at: int) -> tuple[int, bool]:
        """How many tokens of a copy's source block, that of position ``at``, are readable; whether more are coming."""
        while source.start > at:  # the edge has been cut since
            assert source.parent is not None
            source = source.parent
        index = (at - source.start) // self._size
        if index < len(source.blocks) and source.blocks[index] != block:
            return 0, False  # given up half-way, then begun anew by another request, in another block
        return source.ready - at, source.holders > 0

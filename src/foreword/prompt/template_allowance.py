"""What a chat template makes while it renders, counted against what it may make.

Memory is filled by what is made and kept: a text that is doubled in a loop, a list of long texts, a list that holds
itself twice and is then written. So whatever makes a value takes its size from the rendering's allowance, before it is
made where it may be larger than what it is made of. ``counted_template`` says where in a template that is.
"""

import re
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from typing import Any

from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context

ALLOWED = 10**8
"""Characters that a rendering may make of a short conversation."""
TIMES = 100
"""So many times what it is given it may make beside that, and once more for each message: some write all anew for each."""
LARGEST_NUMBER = 10**4
"""Bits; larger ones would take more and more time."""
ITEM = 64
"""What an item of a list, a number, or a step of a loop counts, in characters."""
DIGITS = re.compile(r"\d{1,18}")
NESTED = re.compile(r"\{[^{}]*\{")


class Allowance:
    """What one rendering may still make, in characters."""

    def __init__(self, given: Mapping[str, Any]):
        """``given``: the variables of the rendering; looked at only when ALLOWED is used up."""
        self._given = given
        self._left = ALLOWED
        self._all = False
        self._weights: dict[int, tuple[int, Any]] = {}

    def take(self, size: int) -> None:
        """Count what is made. SecurityError when it is more than is left."""
        self._left -= size
        if self._left < 0 and not self._all:
            self._all = True
            messages = self._given.get("messages")
            each = TIMES + (len(messages) if isinstance(messages, list) else 0)
            self._left += each * sum(map(self.weigh, self._given.values()))
        if self._left < 0:
            raise SecurityError(
                "it makes more text than any prompt of this conversation could hold (is something doubled in a loop?)"
            )

    def weigh(self, value: Any) -> int:
        """About how many characters a value has when it is written, an item that stands in it twice counted twice."""
        kind = type(value)
        if kind is str:
            return len(value)
        if kind is bool or value is None:
            return ITEM
        if kind is int:
            return ITEM + value.bit_length()  # type: ignore[no-any-return]
        plain = kind is dict or kind is list
        if not plain and isinstance(value, str | bytes):
            return len(value)
        if not plain and not isinstance(value, Collection):
            return ITEM
        if (known := self._weights.get(id(value))) is not None:
            return known[0]
        weight = ITEM
        for item in chain(value, value.values()) if kind is dict or isinstance(value, Mapping) else value:
            weight += len(item) if type(item) is str else self.weigh(item)
        self._weights[id(value)] = (weight, value)  # kept, so that the id stays its own
        return weight


class CountedContext(Context):
    """Jinja's context of a rendering, with its allowance."""

    def __init__(
        self,
        environment: Environment,
        parent: dict[str, Any],
        name: str | None,
        blocks: dict[str, Any],
        globals: Any = None,  # the name that Jinja passes it by
    ):
        super().__init__(environment, parent, name, blocks, globals)
        self.allowance = Allowance(parent)

    def derived(self, locals: dict[str, Any] | None = None) -> "CountedContext":
        """See Jinja: that of a block, which takes from the same allowance."""
        context = super().derived(locals)
        assert isinstance(context, CountedContext)
        context.allowance = self.allowance
        return context


def size(value: Any) -> int:
    """What a value that has just been made counts: what it holds was counted when that was made."""
    kind = type(value)
    if kind is str:
        return len(value)
    if kind is list or kind is tuple or kind is dict:
        return ITEM * len(value)
    return len(value) if isinstance(value, str | bytes) else 0


def of_operator(weigh: Callable[[Any], int], operator: str, left: Any, right: Any) -> int:
    """What ``*``, ``**`` or ``%`` makes at most."""
    if operator == "%":
        return _of_percent(weigh, left, right) if isinstance(left, str | bytes) else 0
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > LARGEST_NUMBER:
            raise SecurityError(f"{operator!r} makes a number of more than {LARGEST_NUMBER} bits")
        return bits
    for one, times in ((left, right), (right, left)):
        if isinstance(one, Collection) and isinstance(times, int):
            return max(times, 0) * (len(one) if isinstance(one, str | bytes) else ITEM * len(one))
    return 0


def _of_percent(weigh: Callable[[Any], int], form: str | bytes, values: Any) -> int:
    text = form if isinstance(form, str) else form.decode("latin-1")
    widths = values if isinstance(values, tuple) and "*" in text else ()
    each = weigh(values) + sum(abs(width) for width in widths if isinstance(width, int))
    return len(text) + _numbers(text) + text.count("%") * each


def of_format(weigh: Callable[[Any], int], form: str, values: Any) -> int:
    """What ``format`` makes at most. SecurityError for a width that is itself a field."""
    if NESTED.search(form):
        raise SecurityError("a field of format() has a field in it; write the width as a number")
    return len(form) + _numbers(form) + form.count("{") * weigh(values)


def _numbers(form: str) -> int:
    return sum(map(int, DIGITS.findall(form)))


METHODS = frozenset({"expandtabs", "format", "format_map", "join", "replace", "strftime_now", "translate"})
"""What may make more than it is given, and no number says so."""


def of_method(weigh: Callable[[Any], int], name: str, owner: Any, args: tuple[Any, ...], named: dict[str, Any]) -> int:
    """What one of METHODS makes at most."""
    text = owner if isinstance(owner, str | bytes) else ""
    if isinstance(text, str) and name.startswith("format"):
        return of_format(weigh, text, [args, named])
    if name == "replace" and len(args) > 1:
        return len(text) + _found(text, args[0]) * weigh(args[1])
    if name == "join" and args:
        return weigh(args[0]) + len(args[0]) * len(text)
    if name == "translate" and args:
        return len(text) * (1 + weigh(args[0]))
    if name == "strftime_now" and args:
        return 256 * weigh(args[0])  # so much may time.strftime make
    return len(text) * (8 + sum(abs(each) for each in chain(args, named.values()) if type(each) is int))


def _found(text: Any, part: Any) -> int:
    return text.count(part) if type(part) is type(text) else 0  # Python refuses to replace the other kind

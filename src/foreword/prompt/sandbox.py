"""The sandbox in which a model's chat template runs: it is a stranger's program.

It reaches no attribute that begins with an underscore, changes nothing that it is given, and none of its operators and calls
fills the memory by itself. What loops come to is not bounded: they may take any time, and write a text of any length.
"""

import json
import re
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

LARGEST = 10**7
"""Characters or items that one operation may make, and bits of a number."""
WIDE = re.compile(r"%[-#0 +]*(\d{7}|\*)")
WIDE_FIELD = re.compile(r"\{[^{}]*\d{7}")
"""A text that others are put into, with a width of so many digits, or one that is given beside it."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as chat templates use it."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        self.globals["namespace"] = _PlainNamespace

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """See Jinja. SecurityError for what would be larger than LARGEST."""
        size = {"*": _product, "**": _power, "%": _formatted}[operator]
        if size(left, right) > LARGEST:
            raise SecurityError(f"what {operator!r} makes here would be too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See Jinja. SecurityError for a number above LARGEST, which may be a width or a count."""
        formats = getattr(obj, "__name__", "") in ("format", "format_map")
        form = getattr(getattr(obj, "__wrapped__", obj), "__self__", None) if formats else None
        wide = isinstance(form, str) and WIDE_FIELD.search(form)
        if wide or any(isinstance(each, int) and each > LARGEST for each in (*args, *kwargs.values())):
            raise SecurityError("a width or a count is too large")
        return super().call(context, obj, *args, **kwargs)


def _product(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() + right.bit_length()
    for one, times in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(times, int):
            return len(one) * times
    return 0


def _power(left: Any, right: Any) -> int:
    return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) else 0


def _formatted(left: Any, _: Any) -> int:
    return LARGEST + 1 if isinstance(left, str) and WIDE.search(left) else 0


class _Generation(Extension):
    """``{% generation %}`` marks what the model wrote, for training; here its content is just text."""

    tags = {"generation"}  # noqa: RUF012 (the name and type that Jinja asks for)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PlainNamespace(Namespace):
    """``namespace()`` without names that begin with an underscore: templates come from strangers."""

    def __init__(*args: Any, **attributes: Any):  # a template may pass a ``self`` of its own
        values = dict(*args[1:], **attributes)
        for name in values:
            _check_attribute(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}: it begins with an underscore")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter would escape what matters in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)

"""A chat template rewritten so that it counts what it makes, and the filters that count.

Jinja has hooks for calls and for some operators, and none for ``+`` and ``~``, slices, the steps of loops and what is
written: there a filter is put around what stands in the template. The names of such filters begin with a space.
"""

import json
from collections.abc import Callable, Iterable
from functools import reduce
from types import MappingProxyType
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.filters import do_batch, do_center, do_format, do_indent, do_join, do_map, do_replace, do_slice, do_wordwrap
from jinja2.runtime import markup_join
from jinja2.visitor import NodeTransformer

from foreword.prompt.template_allowance import ITEM, CountedContext, of_operator, size

ADDED, SAID, JOINED, MADE, WRITTEN, STEP = (f" {name}" for name in ("added", "said", "joined", "made", "written", "step"))
VALUES = frozenset(
    {
        *("abs", "count", "d", "default", "first", "float", "int", "items", "last", "length", "list", "map", "max", "min"),
        *("random", "reject", "rejectattr", "reverse", "round", "select", "selectattr"),
    }
)
"""Filters that make no text: what they are given they pass on, or hold."""
HOLDERS = frozenset({"list", "reverse"})
"""Those of them that make something at once."""


class CountedTemplate(NodeTransformer):
    """Puts a filter that counts wherever a template makes, repeats or writes something."""

    def visit_Add(self, node: nodes.Add) -> nodes.Node:
        """A chain of ``+`` becomes one operation."""
        parts: list[nodes.Expr] = []
        rest: nodes.Expr = node
        while isinstance(rest, nodes.Add):
            parts.append(rest.right)
            rest = rest.left
        return _filtered(nodes.Tuple([self.visit(part) for part in (rest, *reversed(parts))], "load"), ADDED, node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """``~``."""
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load"), JOINED, node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A slice is a copy."""
        self.generic_visit(node)
        return _filtered(node, MADE, node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        """A filter that counts by itself stays; another is given texts that are counted."""
        self.generic_visit(node)
        if node.name in HOLDERS:
            return _filtered(node, MADE, node)
        if node.name in VALUES or node.name in COUNTING:
            return node
        node.node = node.node and _written(node.node)
        node.args = [_written(each) for each in node.args]
        for pair in node.kwargs:
            pair.value = _written(pair.value)
        node.dyn_args = node.dyn_args and _written(node.dyn_args)
        node.dyn_kwargs = node.dyn_kwargs and _written(node.dyn_kwargs)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        """What is written: texts of the template are counted with the body that they stand in."""
        self.generic_visit(node)
        node.nodes = [_written(each) for each in node.nodes]
        return node

    def visit_For(self, node: nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        """What may run many times counts, each time, all that stands in it."""
        weight = ITEM * sum(1 for _ in node.find_all(nodes.Node))
        weight += sum(len(each.data) for each in node.find_all(nodes.TemplateData))
        weight += sum(len(each.value) for each in node.find_all(nodes.Const) if isinstance(each.value, str))
        self.generic_visit(node)
        step = _filtered(nodes.Const(weight, lineno=node.lineno), STEP, node)
        node.body = [nodes.ExprStmt(step, lineno=node.lineno), *node.body]
        return node

    visit_Macro = visit_CallBlock = visit_Block = visit_For


def _filtered(node: nodes.Expr, name: str, at: nodes.Node) -> nodes.Filter:
    node.set_lineno(at.lineno)
    return nodes.Filter(node, name, [], [], None, None, lineno=at.lineno, environment=at.environment)


def _written(node: nodes.Expr) -> nodes.Expr:
    """What becomes a text: counted where it stands, unless that has just been done, or it is short."""
    if isinstance(node, nodes.CondExpr):
        node.expr1, node.expr2 = _written(node.expr1), node.expr2 and _written(node.expr2)
        return node
    if isinstance(node, nodes.Const | nodes.TemplateData | nodes.Compare | nodes.Not):
        return node
    if isinstance(node, nodes.Filter) and node.name in (ADDED, SAID, JOINED, WRITTEN):
        node.name = SAID if node.name == ADDED else node.name
        return node
    return _filtered(node, WRITTEN, node)


@pass_context
def _added(context: CountedContext, parts: tuple[Any, ...]) -> Any:
    total = 0
    for part in parts:
        if type(part) is not str:
            return _sum_of(context, parts)
        total += len(part)
    context.allowance.take(total)
    return "".join(parts)


def _sum_of(context: CountedContext, parts: Iterable[Any]) -> Any:
    """From left to right, as Python adds them."""

    def add(left: Any, right: Any) -> Any:
        context.allowance.take(ITEM + size(left) + size(right))
        return left + right

    return reduce(add, parts)


@pass_context
def _said(context: CountedContext, parts: tuple[Any, ...]) -> Any:
    """What is added, and becomes a text then."""
    total = 0
    for part in parts:
        if type(part) is not str:
            return _counted(context, _sum_of(context, parts))
        total += len(part)
    context.allowance.take(total)
    return "".join(parts)


@pass_context
def _joined(context: CountedContext, parts: tuple[Any, ...]) -> str:
    total = 0
    for part in parts:
        total += len(part) if type(part) is str else context.allowance.weigh(part)
    context.allowance.take(total)
    return markup_join(parts) if context.eval_ctx.autoescape else "".join(map(str, parts))


@pass_context
def _made(context: CountedContext, value: Any) -> Any:
    context.allowance.take(size(value))
    return value


@pass_context
def _counted(context: CountedContext, value: Any) -> Any:
    context.allowance.take(len(value) if type(value) is str else context.allowance.weigh(value))
    return value


@pass_context
def _step(context: CountedContext, weight: int) -> None:
    context.allowance.take(weight)


@pass_context
def _tojson(
    context: CountedContext,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter would escape what matters in HTML."""
    allowance = context.allowance
    allowance.take(allowance.weigh(value))
    if indent is None and separators is None:
        return json.dumps(value, ensure_ascii=ensure_ascii, sort_keys=sort_keys)
    allowance.take(abs(indent) if isinstance(indent, int) else 0)
    pieces = []
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    for piece in encoder.iterencode(value):
        allowance.take(len(piece))
        pieces.append(piece)
    return "".join(pieces)


@pass_context
def _join(context: CountedContext, value: Iterable[Any], d: Any = "", attribute: str | None = None) -> str:
    allowance = context.allowance
    items = list(value if attribute is None else do_map(context, value, attribute=attribute))
    allowance.take(allowance.weigh(items) + len(items) * allowance.weigh(d))
    return do_join(context.eval_ctx, items, d)  # type: ignore[no-any-return]


@pass_context
def _replace(context: CountedContext, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    allowance = context.allowance
    allowance.take(sum(map(allowance.weigh, (s, old, new))))
    allowance.take(str(s).count(str(old)) * len(str(new)))
    return do_replace(context.eval_ctx, s, old, new, count)


@pass_context
def _indent(context: CountedContext, s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    each = abs(width) if isinstance(width, int) else len(width)
    context.allowance.take(len(s) + each * (len(s.splitlines()) + 1))
    return do_indent(s, width, first, blank)


@pass_context
def _wordwrap(
    context: CountedContext,
    s: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> str:
    context.allowance.take(len(s) * (1 + len(wrapstring or "")))
    return do_wordwrap(context.environment, s, width, break_long_words, wrapstring, break_on_hyphens)


@pass_context
def _center(context: CountedContext, value: Any, width: int = 80) -> str:
    allowance = context.allowance
    allowance.take(allowance.weigh(value) + abs(width))
    return do_center(value, width)


@pass_context
def _batch(context: CountedContext, value: Any, linecount: int, fill_with: Any = None) -> Any:
    context.allowance.take(ITEM * abs(linecount))
    return do_batch(value, linecount, fill_with)


@pass_context
def _slice(context: CountedContext, value: Any, slices: int, fill_with: Any = None) -> Any:
    context.allowance.take(ITEM * abs(slices))
    return do_slice(context.eval_ctx, value, slices, fill_with)


@pass_context
def _format(context: CountedContext, value: Any, *args: Any, **kwargs: Any) -> str:
    allowance = context.allowance
    allowance.take(allowance.weigh(value))
    allowance.take(of_operator(allowance.weigh, "%", str(value), kwargs or args))
    return do_format(value, *args, **kwargs)


@pass_context
def _sum(context: CountedContext, iterable: Iterable[Any], attribute: str | None = None, start: Any = 0) -> Any:
    items = iterable if attribute is None else do_map(context, iterable, attribute=attribute)
    return _sum_of(context, [start, *items])


COUNTING: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    {
        ADDED: _added,
        SAID: _said,
        JOINED: _joined,
        MADE: _made,
        WRITTEN: _counted,
        STEP: _step,
        "tojson": _tojson,
        "join": _join,
        "replace": _replace,
        "indent": _indent,
        "wordwrap": _wordwrap,
        "center": _center,
        "batch": _batch,
        "slice": _slice,
        "format": _format,
        "sum": _sum,
    }
)
"""Filters that count what they make, by name."""

"""The sandbox in which a model's chat template runs: it is a stranger's program.

It reaches no attribute that begins with an underscore, changes nothing that it is given, and cannot fill the memory: what
it makes is counted (``template_allowance``), in whatever operation it is made, and so are the steps of its loops.
"""

from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from foreword.prompt.counted_template import COUNTING, VALUES, CountedTemplate
from foreword.prompt.template_allowance import METHODS, CountedContext, of_method, of_operator, size

FOR_PAGES = ("pprint", "urlize")
"""Filters of Jinja whose results have no simple bound; a prompt has no use for them."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as chat templates use it."""

    intercepted_binops = frozenset({"*", "**", "%"})
    context_class = CountedContext

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters.update(COUNTING)
        for name in FOR_PAGES:
            del self.filters[name]
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise_exception
        self.globals["namespace"] = _PlainNamespace

    def from_string(self, source: str | nodes.Template, *args: Any, **kwargs: Any) -> jinja2.Template:
        """See Jinja. What the template makes will be counted."""
        tree = self.parse(source) if isinstance(source, str) else source
        return super().from_string(CountedTemplate().visit(tree), *args, **kwargs)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """See Jinja. SecurityError for a list as a key: the message that there is none would be as long as it is."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            if isinstance(argument, list | tuple | dict):
                raise SecurityError(f"a {type(argument).__name__} is no key") from None
            return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """See Jinja. SecurityError for what would be too large."""
        allowance = context.allowance
        allowance.take(of_operator(allowance.weigh, operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See Jinja. SecurityError for what would be too large."""
        allowance = context.allowance
        name = getattr(obj, "__name__", None)
        if name in METHODS:
            owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
            if name == "join" and args and isinstance(owner, str | bytes):
                args = (list(args[0]), *args[1:])  # what is made on the way is counted on the way
            allowance.take(of_method(allowance.weigh, name, owner, args, kwargs))
        for each in args:
            if type(each) is int:
                allowance.take(abs(each))  # it may be a width, or a count
        if kwargs:
            allowance.take(sum(abs(each) for each in kwargs.values() if type(each) is int))
        made = super().call(context, obj, *args, **kwargs)
        allowance.take(len(made) if type(made) is str else size(made))
        return made

    def call_filter(self, name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """See Jinja: ``map`` calls a filter by its name."""
        context = kwargs.get("context")
        if context is None:
            raise SecurityError(f"the filter {name!r} cannot be called from here")
        allowance = context.allowance
        if name not in VALUES and name not in COUNTING:
            allowance.take(allowance.weigh([value, args, kwargs.get("args"), kwargs.get("kwargs")]))
        made = super().call_filter(name, value, *args, **kwargs)
        allowance.take(size(made))
        return made


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

    def __repr__(self) -> str:
        return "<Namespace>"  # what it holds may be long, and nobody has counted it


def _check_attribute(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}: it begins with an underscore")


def _raise_exception(message: Any) -> None:
    raise jinja2.TemplateError(message if isinstance(message, str) else f"a {type(message).__name__}")

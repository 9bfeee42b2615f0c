"""Calls that are written as in Python: ``search(query="fox", most=3)``, one or several."""

import re

from foreword.serving.tool_forms.base import ToolForm
from foreword.serving.tool_forms.json_text import JsonReader, Syntax
from foreword.serving.tool_forms.source import NoCall, Reading

PYTHON = Syntax(colons="=:", tuples=True, ends=("```",))
_NAME = re.compile(r"[\w.\-]+")


def python_calls(form: ToolForm, closer: str = "") -> Reading[bool]:
    """Read calls as long as they come, up to a bracket that closes them; whether there were any."""
    source, before = form.source, form.parts.calls
    while True:
        yield from source.blanks()
        sign = yield from source.sign()
        if sign.isalpha() or sign == "_":
            if not (yield from _call(form)):
                break
            source.keep()
        elif form.parts.calls > before and sign and sign in ",;":
            source.take(1)
        elif closer and sign == closer:
            source.take(1)
            break
        else:
            break
    return form.parts.calls > before


def _call(form: ToolForm, wrapped: bool = False) -> Reading[bool]:
    source = form.source
    name = ""
    while (yield from source.more()) and (run := source.run(_NAME)):
        name += run
        if len(name) > form.longest_name + 40:
            raise NoCall
    if (yield from source.sign()) != "(":
        raise NoCall
    source.take(1)
    if name == "print" and name not in form.tools and not wrapped:
        called = yield from _call(form, wrapped=True)
        yield from source.blanks()
        if called and (yield from source.sign()) == ")":
            source.take(1)
        return called
    known = form.known(name.removesuffix(".call"))
    source.let_go()
    form.parts.begin(known)
    parameters = form.tools[known].get("properties")
    names = tuple(parameters) if isinstance(parameters, dict) else ()
    whole = yield from JsonReader(source, form.parts.arguments, PYTHON).members(")", names)
    form.parts.end(whole)
    return True

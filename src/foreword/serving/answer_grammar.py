"""Grammars of answers: the form that a client asks for, calls of tools that it wants, and thoughts before them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from foreword.engine.grammar_text import FIELD, grammar_of, json_options, json_rule, literal, rule_of, with_parts
from foreword.engine.grammars import Grammars
from foreword.engine.json_schema import ANY_OBJECT, prepared
from foreword.engine.token_mask import Grammar
from foreword.errors import ParameterError
from foreword.prompt.chat import ChatPrompt, Tool
from foreword.sampling_params import StructuredOutputs
from foreword.serving.neutral import NeutralRequest
from foreword.serving.reasoning import ReasoningForm
from foreword.serving.tag_arguments import TagArguments
from foreword.serving.tool_forms.base import CallShape, ParameterShape, ToolForm
from foreword.serving.tool_forms.reader import AnswerForm

NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
TEXT = "TEXT: /(.|\\n)*/\nBLANKS: /[ \\n]{0,8}/\n"
ANSWER = "answer"
"""Name of the grammar that a client wrote itself."""
Arguments = Mapping[str, str]
"""The rule of the arguments of each tool that may be called, by its name."""


def needs_grammar(request: NeutralRequest) -> bool:
    """Whether not every text is an answer."""
    tools = request.tools
    bound = bool(tools.names) and (tools.must_call or bool(tools.strict) or tools.only_some)
    return bound or request.sampling.structured_outputs is not None


class AnswerGrammars:
    """Makes the grammars of one model's answers; it takes time. ``special``: texts of the form that are special tokens."""

    def __init__(self, grammars: Grammars, form: AnswerForm, special: Mapping[str, int]):
        self._grammars = grammars
        self._form = form
        self._special = special

    def of(self, request: NeutralRequest, prompt: str) -> Grammar | None:
        """The grammar of an answer to a prompt's text; None if any text will do. ParameterError for what cannot be kept."""
        wanted, tools = request.sampling.structured_outputs, request.tools
        conversation = request.prompt
        if not isinstance(conversation, ChatPrompt):
            return self._grammars.of(wanted)
        if not needs_grammar(request):
            return None
        self._check(request)
        shape = self._form.calls.shape
        if tools.must_call and shape is None:
            raise ParameterError(
                f"tool_choice: this model writes calls in the form {self._form.calls.name!r}, which cannot be forced; use "
                f"'auto'."
            )
        calls = self._calls(request, conversation.tools, shape) if tools.names and shape is not None else None
        if tools.must_call and calls is not None:
            return self._compiled(self._before(prompt) + calls.forced(), {}, "tools")
        if wanted is not None:
            return self._wanted(request, wanted, calls, prompt)
        if calls is None or not (grammar := calls.lazy(self._form.calls)):
            return None  # a wish, where calls of this form cannot be told from text in time
        return self._grammars.compiled(grammar, "tools")

    def _check(self, request: NeutralRequest) -> None:
        """ParameterError for what says otherwise where an answer ends that has to call a tool."""
        for name, given in (("stop", request.sampling.stop_strings), ("min_tokens", request.sampling.min_tokens)):
            if given and request.tools.must_call:
                raise ParameterError(f"{name} cannot stand beside a tool_choice that forces a call; leave one of them out.")

    def _wanted(self, request: NeutralRequest, wanted: StructuredOutputs, calls: "_Calls | None", prompt: str) -> Grammar:
        """What a client asked for, or calls of its tools in place of it."""
        field, faults = request.form_field, []
        for each in _closed_first(wanted, field):
            parts = {}
            if each.grammar is not None:
                parts[ANSWER] = grammar_of(each, field)
            rule = f"@{ANSWER}" if parts else rule_of(each, field)
            others = "" if calls is None else f"{calls.rules()}calls_or_answer: calls | answer\n"
            target = "answer" if calls is None else "calls_or_answer"
            try:
                return self._compiled(f"{self._before(prompt)}outcome: {target}\n{others}answer: {rule}\n", parts, field)
            except ParameterError as error:
                faults.append(error)
        raise faults[-1]

    def _compiled(self, rules: str, parts: Mapping[str, str], field: str) -> Grammar:
        return self._grammars.compiled(with_parts(rules, parts), field)

    def _before(self, prompt: str) -> str:
        """The beginning of a grammar of which ``outcome`` is the rest: what the model may think before it."""
        reasoning = self._form.reasoning
        if reasoning is None or self._form.calls.thinks or not reasoning.is_open(prompt):
            return "start: outcome\n"
        return f"start: thoughts BLANKS outcome\n{_until(reasoning, self._special)}{TEXT}"

    def _calls(self, request: NeutralRequest, offered: Sequence[Tool], shape: CallShape) -> "_Calls":
        forced = request.tools.must_call
        called = [(name, schema) for name, schema in _schemas(offered) if name in request.tools.names]
        arguments = {}
        for number, (name, schema) in enumerate(called):
            strict = name in request.tools.strict
            if shape.parameters is None:
                arguments[name] = self._arguments(name, schema, strict, forced)
            else:
                arguments[name] = self._in_tags(shape.parameters, number, name, schema, strict, forced)
        return _Calls(shape, arguments, self._special, request.tools.parallel)

    def _arguments(self, name: str, schema: Mapping[str, Any], strict: bool, forced: bool) -> str:
        """The rule of a tool's arguments. ParameterError where they must follow a schema and cannot."""
        field = f"tools: the schema of {name!r}"
        if strict:
            rule = json_rule(prepared(dict(schema), field, json_options()), field)
            self._grammars.compiled(f"start: {rule}\n", field)
            return rule
        if not forced:
            return json_rule(prepared(ANY_OBJECT, field, json_options()), field)
        for named_only in (True, False):
            try:
                rule = json_rule(prepared(dict(schema), field, json_options(lenient=True), named_only), field)
                self._grammars.compiled(f"start: {rule}\n", field)
                return rule
            except ParameterError:  # nobody asked that it be kept
                continue
        return json_rule(prepared(ANY_OBJECT, field, json_options()), field)

    def _in_tags(
        self, shape: ParameterShape, number: int, name: str, schema: Mapping[str, Any], strict: bool, forced: bool
    ) -> str:
        """The same for arguments that are written one by one."""
        field = f"tools: the schema of {name!r}"

        def rules() -> TagArguments:
            return TagArguments(shape, lambda text: list(_pieces(text, self._special)), f"argument_{number}", field, strict)

        if not forced and not strict:
            return rules().free()
        try:
            rule = rules().rule(schema)
            self._grammars.compiled(f"start: {rule}\n", field)
        except ParameterError:
            if strict:
                raise
            return rules().free()  # nobody asked that it be kept
        return rule


class _Calls:
    """The calls that may come, as rules. ``special``: the texts that are special tokens, and which."""

    def __init__(self, shape: CallShape, arguments: Arguments, special: Mapping[str, int], parallel: bool):
        self._shape = shape
        self._arguments = arguments
        self._special = special
        self._parallel = parallel

    def forced(self) -> str:
        """Rules of an ``outcome`` that is calls."""
        return f"outcome: calls\n{self.rules()}"

    def rules(self) -> str:
        """Rules of ``calls``, one or more."""
        shape = self._shape
        more = f" ({self._text(shape.separator)} call)*" if self._parallel else ""
        return f"calls: {self._text(shape.begin)} call{more} {self._text(shape.end)}\n{self._call(shape.before_name)}"

    def lazy(self, form: type[ToolForm]) -> str:
        """A whole grammar of text in which a call, once begun, is bound. Empty where no mark tells that one begins."""
        shape = self._shape
        opening = shape.begin + shape.before_name
        mark = next((begin for begin in form.begins if opening.startswith(begin)), None)
        if mark is None:
            return ""
        token = self._special.get(mark)
        if token is None and any(special in mark for special in self._special):
            return ""  # a token within it, which no text may hold
        trigger = f"TEXT <[{token}]>" if token is not None else "opening"
        opens = "" if token is not None else f"opening[lazy]: TEXT {literal(mark)}\n"
        behind = shape.begin.removeprefix(mark) if shape.begin else ""
        before_name = shape.before_name if shape.begin else shape.before_name.removeprefix(mark)
        more = f" ({self._text(shape.separator)} call)*" if shape.begin and self._parallel else ""
        return (
            f"start: bound* rest\nrest: TEXT\n{TEXT}{opens}"
            f"bound: {trigger} {self._text(behind)} call{more} {self._text(shape.end)}\n{self._call(before_name)}"
        )

    def _call(self, before_name: str) -> str:
        shape, names = self._shape, list(self._arguments)
        rules = ["call: " + " | ".join(f"call_{place}" for place in range(len(names)))]
        for place, name in enumerate(names):
            head = self._text(f"{before_name}{literal(name)[1:-1]}{shape.before_arguments}")
            rules.append(f"call_{place}: {head} arguments_{place} {self._text(shape.after_arguments)}")
            rules.append(f"arguments_{place}: {self._arguments[name]}")
        return "\n".join(rules) + "\n"

    def _text(self, text: str) -> str:
        """A text of the form as rules: special tokens as such, the rest as it is."""
        return " ".join(_pieces(text, self._special))


def _pieces(text: str, special: Mapping[str, int]) -> Iterator[str]:
    if not text:
        return
    found = [(at, mark) for mark in special if (at := text.find(mark)) >= 0]
    if not found:
        yield literal(text)
        return
    at, mark = min(found, key=lambda each: (each[0], -len(each[1])))
    yield from _pieces(text[:at], {})
    yield f"<[{special[mark]}]>"
    yield from _pieces(text[at + len(mark) :], special)


def _until(reasoning: ReasoningForm, special: Mapping[str, int]) -> str:
    """The rule of ``thoughts`` that have begun, up to their end."""
    token = special.get(reasoning.end)
    if token is not None:
        return f"thoughts: TEXT <[{token}]>\n"
    return f"thoughts[lazy]: TEXT {literal(reasoning.end)}\n"


def _closed_first(wanted: StructuredOutputs, field: str) -> tuple[StructuredOutputs, ...]:
    """The forms to try, one after the other. Vendors' clients mean no properties but those that a schema names."""
    if field == FIELD or wanted.json is None or wanted.disable_additional_properties:
        return (wanted,)
    return replace(wanted, disable_additional_properties=True), wanted


def _schemas(tools: Sequence[Tool]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and schemas of tools."""
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping):
            schema = function.get("parameters")
            yield str(function.get("name")), schema if isinstance(schema, Mapping) else NO_ARGUMENTS

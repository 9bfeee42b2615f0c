"""How the answers of one model are read: in which forms it writes, and which special tokens its text must have for that."""

from collections.abc import Mapping, Sequence
from typing import Any

from foreword.engine.model_text import ModelText
from foreword.prompt.chat import ChatPrompt, Tool
from foreword.prompt.template import PromptTemplate
from foreword.serving.config import ServerConfig
from foreword.serving.neutral import NeutralRequest
from foreword.serving.reasoning import OFF, reasoning_named, reasoning_of
from foreword.serving.rendering import RenderedPrompt
from foreword.serving.tool_forms.base import Schemas, ToolForm
from foreword.serving.tool_forms.choice import form_named, form_of
from foreword.serving.tool_forms.reader import AnswerForm, AnswerReader, OnFault

NO_SCHEMA: Mapping[str, Any] = {}
TEXT = AnswerForm(reasoning=None)
"""The form of an answer in which nothing is looked for."""


class AnswerReading:
    """Makes the readers of a model's answers. Only conversations are read so: what goes on from a text is text.

    on_fault
        Is told of a fault in a reader.
    """

    def __init__(self, text: ModelText, config: ServerConfig, on_fault: OnFault):
        self._on_fault = on_fault
        template = None if text.template is None else text.template.source(())
        named, thinks = config.tool_call_form, config.reasoning_form
        self._form = AnswerForm(
            calls=(form_named(named) if named is not None else None) or _told_form(text.template),
            reasoning=None if thinks == OFF else reasoning_named(thinks or "") or reasoning_of(template),
        )
        self._special = text.tokenizer.special_tokens(self._form.special)

    @property
    def form(self) -> AnswerForm:
        """How the model writes."""
        return self._form

    @property
    def special(self) -> Mapping[str, int]:
        """Those texts of the form that are special tokens, and which."""
        return self._special

    def shown_tokens(self, request: NeutralRequest) -> frozenset[int]:
        """The special tokens that the text of an answer must have."""
        return frozenset(self._special.values()) if isinstance(request.prompt, ChatPrompt) else frozenset()

    def reader(self, request: NeutralRequest, prompt: RenderedPrompt) -> AnswerReader:
        """A reader for one continuation of a request."""
        conversation = request.prompt
        if not isinstance(conversation, ChatPrompt):
            return AnswerReader(TEXT, {})
        reasoning = self._form.reasoning
        return AnswerReader(
            self._form,
            _schemas(conversation.tools, request.tools.names),
            request.tools.parallel,
            thinking=reasoning is not None and reasoning.is_open(prompt.text or ""),
            hidden=tuple(self._special) if request.sampling.skip_special_tokens else (),
            on_fault=self._on_fault,
        )


def _told_form(template: PromptTemplate | None) -> type[ToolForm]:
    """The form of calls that prompts tell a model of: its template's own, or the one in their place (``default_tools``)
    where the template writes no tools."""
    if template is None or not template.abilities(()).tools:
        return form_of(None)
    return form_of(template.source(()))


def _schemas(tools: Sequence[Tool], names: frozenset[str]) -> Schemas:
    """The schemas of the arguments of those tools that may be called."""
    schemas: dict[str, Mapping[str, Any]] = dict.fromkeys(names, NO_SCHEMA)
    for tool in tools if names else ():
        function = tool.get("function")
        if isinstance(function, Mapping) and function.get("name") in names:
            parameters = function.get("parameters")
            schemas[function["name"]] = parameters if isinstance(parameters, Mapping) else NO_SCHEMA
    return schemas

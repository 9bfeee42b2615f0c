"""Forms of answers and choices of tools, as OpenAI's endpoints have them, and vLLM's fields beside them."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from foreword.errors import ParameterError
from foreword.sampling_params import StructuredOutputs
from foreword.server.body import Body
from foreword.server.json_types import JsonObject, Text
from foreword.serving.neutral import UsableTools

MAX_CHOICES = 10_000


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Body):
    """A schema and its name. It is kept, whatever ``strict`` says."""

    name: Text
    description: Text | None = None
    schema_: JsonObject | bool | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Body):
    """JSON that a schema takes."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class FlatSchemaFormat(JsonSchema):
    """The same in the responses endpoint."""

    type: Literal["json_schema"]


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
TextFormats = Annotated[TextFormat | JsonObjectFormat | FlatSchemaFormat, Field(discriminator="type")]


class StructuredFields(Body):
    """vLLM's ``structured_outputs``."""

    json_: JsonObject | Text | bool | None = Field(default=None, alias="json")
    regex: Text | None = None
    choice: Annotated[list[Text], Field(max_length=MAX_CHOICES)] | None = None
    grammar: Text | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: Text | None = None


class FormFields(Body):
    """Forms of an answer in both completions endpoints: OpenAI's field, and vLLM's of today and before."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredFields | None = None
    guided_json: JsonObject | Text | bool | None = None
    guided_regex: Text | None = None
    guided_choice: Annotated[list[Text], Field(max_length=MAX_CHOICES)] | None = None
    guided_grammar: Text | None = None
    guided_whitespace_pattern: Text | None = None


class FunctionName(Body):
    """A function's name."""

    name: Text


class NamedFunction(Body):
    """A function that has to be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Body):
    """The functions that may be called (``auto``) or of which one must be (``required``)."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1)]


class AllowedChoice(Body):
    """Some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class FlatFunction(Body):
    """A function that has to be called, in the responses endpoint."""

    type: Literal["function"]
    name: Text


class FlatAllowed(Body):
    """Some of the tools, in the responses endpoint."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FlatFunction], Field(min_length=1)]


ToolWord = Literal["none", "auto", "required"]
ChatToolChoice = ToolWord | Annotated[NamedFunction | AllowedChoice, Field(discriminator="type")]
ResponseToolChoice = ToolWord | Annotated[FlatFunction | FlatAllowed, Field(discriminator="type")]


def chosen(choice: ChatToolChoice | ResponseToolChoice | None) -> tuple[str, tuple[str, ...] | None]:
    """Whether tools are used (``none``, ``auto``, ``required``, ``one``), and which; None: all of them."""
    if choice is None or isinstance(choice, str):
        return choice or "auto", None
    if isinstance(choice, NamedFunction | FlatFunction):
        return "one", (choice.function.name if isinstance(choice, NamedFunction) else choice.name,)
    if isinstance(choice, AllowedChoice):
        return choice.allowed_tools.mode, tuple(each.function.name for each in choice.allowed_tools.tools)
    return choice.mode, tuple(each.name for each in choice.tools)


def narrowed(usable: UsableTools, mode: str, names: tuple[str, ...] | None) -> UsableTools:
    """The tools that may be called as a client chose among them. ParameterError for one that it does not offer."""
    if mode == "none":
        return replace(usable, names=frozenset(), strict=frozenset())
    for name in names or ():
        if name not in usable.names:
            raise ParameterError(f"tool_choice names the tool {name!r}, which is not among tools.")
    if mode != "auto" and not usable.names:
        raise ParameterError("tool_choice asks for a call of a tool, but there are no tools.")
    some = usable.names if names is None else frozenset(names)
    return replace(
        usable,
        names=some,
        strict=usable.strict & some,
        parallel=usable.parallel and mode != "one",
        must_call=mode != "auto",
        only_some=some != usable.names,
    )


def form_of(body: FormFields) -> tuple[StructuredOutputs | None, str]:
    """The form of an answer and the field that asked for it. ParameterError for more than one."""
    guided = {
        name: getattr(body, f"guided_{name}")
        for name in ("json", "regex", "choice", "grammar")
        if getattr(body, f"guided_{name}") is not None
    }
    found: list[tuple[StructuredOutputs, str]] = []
    asked = format_form(body.response_format)
    if asked is not None:
        found.append((asked, "response_format"))
    if body.structured_outputs is not None:
        found.append((StructuredOutputs(**body.structured_outputs.model_dump(by_alias=True)), "structured_outputs"))
    if guided:
        field = f"guided_{next(iter(guided))}"
        try:
            found.append((StructuredOutputs(**guided, whitespace_pattern=body.guided_whitespace_pattern), field))
        except ParameterError as error:  # in the words of the fields that the client knows
            raise ParameterError(str(error).replace("structured_outputs.", "guided_")) from None
    if len(found) > 1:
        raise ParameterError(f"{found[0][1]} and {found[1][1]} both say what form the answer has; leave one out.")
    return found[0] if found else (None, "structured_outputs")


def format_form(given: ResponseFormat | TextFormats | None) -> StructuredOutputs | None:
    """A format as a form; None for text."""
    if given is None or isinstance(given, TextFormat):
        return None
    if isinstance(given, JsonObjectFormat):
        return StructuredOutputs(json_object=True)
    schema: dict[str, Any] | bool | None = (given.json_schema if isinstance(given, JsonSchemaFormat) else given).schema_
    return StructuredOutputs(json_object=True) if schema is None else StructuredOutputs(json=schema)

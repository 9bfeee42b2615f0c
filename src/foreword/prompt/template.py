"""A model's chat template and tokenizer: messages → text → token ids, without torch and without transformers.

The same text as transformers' ``apply_chat_template`` gives, with four differences. Text parts of a message are joined by
a newline where the template takes only strings or would run them together; tool-call arguments may be JSON text, as APIs
send them; ids of calls become short where the template wants them so; and today's date is a value that the caller passes
(``now``), never the clock's.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import meta

from foreword.errors import ModelError, PromptError
from foreword.prompt.abilities import TemplateAbilities, find_abilities
from foreword.prompt.chat import MessageDict, Tool
from foreword.prompt.sandbox import Sandbox
from foreword.prompt.tokenizer import Encoded, HubTokenizer, Tokenizer
from foreword.prompt.vendor_forms.openai import REASONING

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TEMPLATE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""The files of a model's directory that PromptTemplate.from_files may use; only the first must be there."""
_GIVEN = frozenset(
    {"messages", "tools", "xml_tools", "documents", "add_generation_prompt", "strftime_now", "raise_exception", "namespace"}
)

UNREADABLE = (RecursionError, SyntaxError, ValueError, OverflowError, MemoryError)
"""What compiling a template raises that is nested deeper than Jinja or Python can read."""
_END = "\ue000"
"""A sign behind the text of an answer that has begun, to see where a template goes on writing behind it."""
_SHORT_ID = 9  # the length that Mistral's templates want
_A_DAY = datetime(2000, 1, 1)

OWN_VARIABLES = frozenset(
    {
        *("messages", "tools", "add_generation_prompt", "go_on", "now", "strftime_now", "template", "self"),
        *("chat_template", "conversation", "tokenize", "continue_final_message", "return_tensors", "return_dict"),
        *("namespace", "range", "dict", "cycler", "joiner", "lipsum", "raise_exception"),
        *("return_assistant_tokens_mask", "padding", "truncation", "max_length", "tokenizer_kwargs"),
    }
)
"""What a template is given by whoever renders, or what rendering itself goes by elsewhere: no variables for a client."""


def check_variables(variables: Mapping[str, Any]) -> None:
    """PromptError when a client's variables for a template take a name that is not theirs to give."""
    taken = sorted(OWN_VARIABLES.intersection(variables))
    if taken:
        raise PromptError(
            f"chat_template_kwargs holds {taken[0]!r}, which this server says to the template by itself. Leave it out; "
            f"messages, tools and add_generation_prompt are fields of the request."
        )


class PromptTemplate:
    """Renders conversations as one model wants them.

    Messages are as in the chat completions API: ``role``, ``content`` (text, or a list of ``{"type": "text"}`` parts),
    ``tool_calls``, ``reasoning_content``. Immutable; safe to share between threads.
    """

    def __init__(
        self,
        chat_template: str | Mapping[str, str],
        tokenizer: Tokenizer,
        special_tokens: Mapping[str, str] | None = None,
    ):
        """``chat_template`` is one template, or several by name: ``default``, and ``tool_use`` where tools are given.

        ModelError when a template is not valid Jinja.
        """
        sources = {"default": chat_template} if isinstance(chat_template, str) else dict(chat_template)
        if not sources:
            raise ModelError(
                "There is no chat template. Give one as text, or add chat_template.jinja to the model's directory."
            )
        environment = Sandbox()
        self.tokenizer = tokenizer
        self.special_tokens = dict(special_tokens or {})
        self._templates = {name: _compile(environment, name, source) for name, source in sources.items()}
        self.sources = sources
        self._tools_as = {name: _tools_variable(_read_by(environment, source)) for name, source in sources.items()}
        self._takes_parts = {name: self._probe_parts(name) for name in sources}
        self._short_ids = {name: self._probe_short_ids(name) for name in sources}
        self._abilities: dict[str, TemplateAbilities] = {}

    @classmethod
    def from_files(cls, files: Mapping[str, str], tokenizer: Tokenizer | None = None) -> "PromptTemplate":
        """Make one from the contents of a model's directory, by file name.

        Known are TEMPLATE_FILES and ``additional_chat_templates/*.jinja``. A template in a file of its own goes before
        one in ``tokenizer_config.json``. ``tokenizer`` stands in for a ``tokenizer.json`` that is not there. ModelError when
        there is no tokenizer or no chat template.
        """
        if "tokenizer.json" in files:
            tokenizer = HubTokenizer.from_json(files["tokenizer.json"])
        if tokenizer is None:
            raise ModelError("There is no tokenizer.json; a prompt template needs the model's tokenizer in that form.")
        config = _json_object(files, "tokenizer_config.json")
        names = {**_json_object(files, "special_tokens_map.json"), **config}
        special = {name: token for name in SPECIAL_TOKENS if (token := _token_text(names.get(name))) is not None}
        return cls(_template_sources(files, config), tokenizer, special)

    def with_tokenizer(self, tokenizer: Tokenizer) -> "PromptTemplate":
        """The same template with another tokenizer."""
        other = copy.copy(self)
        other.tokenizer = tokenizer
        return other

    def render(
        self,
        messages: Sequence[MessageDict],
        tools: Sequence[Tool] | None = None,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        go_on: bool = False,
        **variables: Any,
    ) -> str:
        """The conversation as text. ``variables`` are the template's own (``enable_thinking`` and the like).

        With ``go_on`` the last message is an answer that has begun, and the text ends where its text does; then there is
        no generation prompt.

        PromptError when the template refuses the messages, or asks for the date and ``now`` is not given.
        """
        if not messages:
            raise PromptError("The conversation is empty; a chat template needs at least one message.")
        if go_on:
            begun = [*messages[:-1], _with_end(messages[-1])]
            text, end, _ = self.render(begun, tools, False, now, **variables).rpartition(_END)
            if not end:
                raise PromptError("The chat template does not write the begun answer with which the conversation ends.")
            return text
        name = self._choose(tools)
        try:
            given = None if tools is None else _plain(list(tools), "a tool")
            return self._templates[name].render(
                {
                    **self.special_tokens,
                    "strftime_now": _clock(now),
                    "documents": None,
                    **_plain(variables, "a template variable"),
                    "messages": [
                        _plain_message(message, self._takes_parts[name], self._short_ids[name]) for message in messages
                    ],
                    **({} if given is None else {self._tools_as[name]: given}),
                    "tools": given,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except PromptError:
            raise
        except Exception as error:  # a template is a stranger's program
            raise PromptError(
                f"The chat template did not take the conversation ({len(messages)} messages, "
                f"{len(tools or ())} tools): {error}. Look at the roles, their order, and the contents."
            ) from error

    def abilities(self, tools: Sequence[Tool] | None = None) -> TemplateAbilities:
        """What the template, as used with these tools, takes of a conversation; tried out the first time."""
        name = self._choose(tools)
        if name not in self._abilities:
            given: list[Tool] | None = [] if name == "tool_use" else None
            self._abilities[name] = find_abilities(
                lambda messages, tried: self.render(messages, given if tried is None else tried, now=_A_DAY)
            )
        return self._abilities[name]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens that stand in it are recognised, none are added."""
        return self.tokenizer.encode(text).ids

    def encode_with_ends(self, text: str) -> Encoded:
        """Token ids, and where in the text each of them ends."""
        return self.tokenizer.encode(text)

    def source(self, tools: Sequence[Tool] | None = None) -> str:
        """The template's own text, as used with these tools."""
        return self.sources[self._choose(tools)]

    @property
    def variables(self) -> frozenset[str]:
        """What the templates read beside messages, tools and special tokens: variables that a caller may have to give."""
        environment = Sandbox()
        read = (_read_by(environment, source) for source in self.sources.values())
        return frozenset().union(*read) - _GIVEN - frozenset(SPECIAL_TOKENS)

    def _choose(self, tools: Sequence[Tool] | None) -> str:
        if tools is not None and "tool_use" in self._templates:
            return "tool_use"
        if "default" in self._templates:
            return "default"
        if len(self._templates) == 1:
            return next(iter(self._templates))
        raise ModelError(f"The model has the chat templates {sorted(self._templates)}, and none is named 'default'.")

    def _probe_parts(self, name: str) -> bool:
        """Whether the template writes a list of text parts and keeps them apart, or takes only strings: tried out."""
        parts = [{"type": "text", "text": "one\ue000"}, {"type": "text", "text": "two\ue000"}]
        return self._writes(name, "user", parts) and (
            self._writes(name, "system", parts) or not self._writes(name, "system", "one\ue000two\ue000")
        )

    def _probe_short_ids(self, name: str) -> bool:
        """Whether the template wants ids of calls to be of nine letters: tried out."""
        return self._takes_id(name, "call12345") and not self._takes_id(name, "call_1234567890")

    def _takes_id(self, name: str, call_id: str) -> bool:
        call = {"id": call_id, "type": "function", "function": {"name": "look", "arguments": {}}}
        messages = [
            {"role": "user", "content": "ask"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": "look", "tool_call_id": call_id, "content": "found"},
        ]
        try:
            self._templates[name].render(self._probe_values(), messages=messages)
        except Exception:  # whatever it is: this template does not take it
            return False
        return True

    def _probe_values(self) -> dict[str, Any]:
        return {**self.special_tokens, "strftime_now": _clock(_A_DAY), "tools": None}

    def _writes(self, name: str, role: str, content: Any) -> bool:
        ask = [] if role == "user" else [{"role": "user", "content": "ask"}]
        try:
            text = self._templates[name].render(self._probe_values(), messages=[{"role": role, "content": content}, *ask])
        except Exception:  # whatever it is: this template does not take it
            return False
        together = "one\ue000two\ue000" in text
        if isinstance(content, str) or together:
            return together and isinstance(content, str)
        return "one\ue000" in text and "two\ue000" in text and "'type'" not in text and '"type"' not in text


def _compile(environment: Sandbox, name: str, source: str) -> jinja2.Template:
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(f"The chat template {name!r} is not valid Jinja, line {error.lineno}: {error.message}") from error
    except UNREADABLE as error:
        raise ModelError(
            f"The chat template {name!r} cannot be read ({type(error).__name__}): is it nested too deeply?"
        ) from error


def _read_by(environment: Sandbox, source: str) -> set[str]:
    """The variables that a template reads and does not set before."""
    return meta.find_undeclared_variables(environment.parse(source))


def _tools_variable(read: set[str]) -> str:
    """In which variable a template takes tools: SmolLM3's has one of its own."""
    return "xml_tools" if "xml_tools" in read and "tools" not in read else "tools"


def _clock(now: datetime | None) -> Any:
    def strftime_now(form: str) -> str:
        if now is None:
            raise PromptError("The chat template writes today's date: pass it as now=datetime(...).")
        return now.strftime(form)

    return strftime_now


def _plain(value: Any, what: str) -> Any:
    """A copy made of JSON's types only, so that a template can reach nothing else."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is float or kind is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if kind is dict or isinstance(value, Mapping):
        return {
            key if type(key) is str else _plain(key, what): item if type(item) is str else _plain(item, what)
            for key, item in value.items()
        }
    if kind is list or (isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)):
        return [item if type(item) is str else _plain(item, what) for item in value]
    raise PromptError(f"{what} holds a {type(value).__name__}; only JSON's types can be rendered.")


def _plain_message(message: MessageDict, takes_parts: bool, short_ids: bool) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise PromptError(f"A message is a dict with 'role' and 'content', not {type(message).__name__}.")
    plain = {key: _plain(value, f"message field {key!r}") for key, value in message.items() if value is not None}
    if "role" not in plain:
        raise PromptError(f"A message has no 'role'; it has {sorted(plain)}.")
    if isinstance(plain.get("content"), list) and not takes_parts:
        plain["content"] = "\n".join(_part_text(part) for part in plain["content"])
    for call in plain.get("tool_calls", ()):
        _parse_arguments(call)
        if short_ids and isinstance(call, dict) and isinstance(call.get("id"), str):
            call["id"] = _short_id(call["id"])
    if short_ids and isinstance(plain.get("tool_call_id"), str):
        plain["tool_call_id"] = _short_id(plain["tool_call_id"])
    reasoning = next((plain[key] for key in REASONING if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _short_id(call_id: str) -> str:
    """An id of nine letters and digits; one that is so already stays."""
    if len(call_id) == _SHORT_ID and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:_SHORT_ID]


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise PromptError(f"A content part of type {kind!r} cannot be rendered by this chat template; it takes text.")


def _with_end(message: MessageDict) -> MessageDict:
    """An answer that has begun, with a sign behind its text. PromptError for one without text, or with calls behind it."""
    content = message.get("content")
    if message.get("role") != "assistant" or message.get("tool_calls") or not content:
        raise PromptError(
            "The last message is to be gone on with: it must be of the role 'assistant', have a text, and call no tool."
        )
    if isinstance(content, str):
        return {**message, "content": content + _END}
    *before, last = content
    return {**message, "content": [*before, {**last, "text": last["text"] + _END}]}


def _parse_arguments(call: Any) -> None:
    """Arguments as JSON text become what they say; templates write them by themselves."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"] or "{}")
        except ValueError:
            return  # the model wrote no JSON: rendered as the text that it is


def _json_object(files: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(files.get(name, "{}"))
    except ValueError as error:
        raise ModelError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{name} holds a {type(value).__name__}, not an object.")
    return value


def _token_text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _template_sources(files: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """Every chat template by name."""
    in_config = config.get("chat_template") or _json_object(files, "chat_template.json").get("chat_template")
    sources: dict[Any, Any] = {}
    if isinstance(in_config, str):
        sources["default"] = in_config
    elif isinstance(in_config, list):
        sources.update((entry.get("name"), entry.get("template")) for entry in in_config if isinstance(entry, dict))
    elif isinstance(in_config, dict):
        sources.update(in_config)
    if not all(isinstance(each, str) for pair in sources.items() for each in pair) or (in_config and not sources):
        raise ModelError(
            "chat_template in tokenizer_config.json is neither a text, nor texts by their names, nor a list of objects with "
            "'name' and 'template'. Put the template into chat_template.jinja, and take that out."
        )
    own = {name: text for name, text in files.items() if name.endswith(".jinja")}
    if own:
        sources = {
            "default" if name == "chat_template.jinja" else name.rsplit("/", 1)[-1].removesuffix(".jinja"): text
            for name, text in own.items()
        }
    return sources

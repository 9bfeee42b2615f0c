"""What both dialects translate to and from. It knows neither of them, no HTTP and no engine.

body of a dialect  →  NeutralRequest  →  Service  →  Answer, or a stream of Update  →  body of the dialect
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from foreword.account import PREDICTION, Account, Drafted
from foreword.cache import ConversationState
from foreword.outputs import Logprob
from foreword.prompt.chat import PromptForm
from foreword.sampling_params import SamplingParams
from foreword.serving.tool_forms.base import AnswerPart, Thought, ToolUse, WholePart
from foreword.serving.tool_forms.reader import gathered

UNLIMITED = 2**31 - 1
"""As ``max_tokens``: no limit but the model's context and the cache's size."""


class CacheMode(StrEnum):
    """``implicit``: any shared prefix is used and kept. ``explicit``: so only with a mark; without one the cache is off."""

    IMPLICIT = "implicit"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a client may say about the cache.

    salt
        Narrows sharing to requests with the same salt; never widens it beyond the tenant's scope.
    compare_with
        Id of an earlier answer of the same tenant and salt: say why its prefix was not reused. None: not asked.
    keep_seconds
        A mark with this TTL at the end of the prompt, beside those of the conversation. None: no such mark.
    conversation
        Whether the conversation goes on, as the client says; None: it says nothing.
    """

    salt: str | None = None
    mode: CacheMode = CacheMode.IMPLICIT
    compare_with: str | None = None
    keep_seconds: float | None = None
    conversation: ConversationState | None = None


@dataclass(frozen=True, slots=True)
class Namespaced:
    """A tool of a namespace, as its client knows it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class UsableTools:
    """Which tools an answer may call.

    names
        Of the tools that are offered, as the prompt has them. A call of another one is text.
    parallel
        Whether it may make more than one call; else the first one counts.
    namespaces
        Of those names the ones that stand for a tool of a namespace: calls of them are told by namespace and name.
    must_call
        Whether it has to make one.
    strict
        Of those names the ones whose arguments must follow the tool's schema.
    only_some
        Whether the prompt offers more tools than may be called.
    """

    names: frozenset[str] = frozenset()
    parallel: bool = True
    namespaces: Mapping[str, Namespaced] = field(default_factory=dict)
    must_call: bool = False
    strict: frozenset[str] = frozenset()
    only_some: bool = False


@dataclass(frozen=True, slots=True)
class NeutralRequest:
    """One request, whatever dialect it came in.

    request_id
        Names the answer towards the client and in logs and explanations; unique.
    tenant
        Who asks, from the API key; the server decides the scope from it.
    sampling
        ``max_tokens=UNLIMITED``: as many as context and cache allow. 0 computes the prompt and generates nothing.
    settings
        Named things besides prompt and model that a hosted cache would depend on (``reasoning_effort`` and the like), as the
        dialect wishes to compare them.
    prediction
        What the client thinks the answer will be: it is the same, and sooner there where that is right. Empty: nothing.
    form_field
        The field by which the client asked for ``sampling.structured_outputs``, for errors.
    """

    request_id: str
    tenant: str
    model: str
    prompt: PromptForm
    sampling: SamplingParams
    stream: bool = False
    cache: CacheSettings = CacheSettings()
    tools: UsableTools = UsableTools()
    form_field: str = "structured_outputs"
    prediction: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """A request's tokens.

    account
        The prompt's, by source.
    reasoning_tokens
        Of the output those in which the model thinks, the marks around it included.
    written
        Tokens of the prompt that were computed and entered into the cache; 0 where the cache is off.
    written_by_ttl
        Tokens computed now that lie under a mark, by that mark's TTL in seconds: each counts once, for the first mark at or
        behind it.
    """

    account: Account
    output_tokens: int
    written: int = 0
    reasoning_tokens: int = 0
    written_by_ttl: Mapping[float, int] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self.account.prompt_tokens

    @property
    def reused(self) -> int:
        """Prompt tokens that were not computed for this request."""
        return self.account.reused

    @property
    def predicted(self) -> Drafted:
        """What was drafted from the client's prediction."""
        return self.account.drafts.get(PREDICTION, Drafted())


class Changed(StrEnum):
    """The first thing in which a request differs from the one it is compared with, in the order of the prefix."""

    MODEL = "model"
    TOOLS = "tools"
    SYSTEM = "system"
    SETTINGS = "settings"
    MESSAGES = "messages"
    NOTHING = "nothing"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a prompt could not reuse that of an earlier answer.

    changed
        ``nothing``: the earlier prompt is a prefix of this one, and was found in the cache as far as it was computed there.
        ``not_found``: no such answer of this tenant under this salt is remembered. ``unknown``: the same prefix, but no
        longer cached.
    setting
        For ``settings``: its name. For ``messages``: ``context`` where they stand in the place of a longer conversation.
    missed_tokens
        Tokens of this prompt after the point where it parts from the earlier one.
    lost_tokens
        Of those, as many as would have been reused if the whole of the earlier prompt had been there, and the same.
    reusable_tokens
        Leading tokens that both prompts share.
    """

    changed: Changed
    setting: str = ""
    missed_tokens: int = 0
    lost_tokens: int = 0
    reusable_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """One continuation. In an Update its parts, tokens and logprobs are what is new since the last one, in an Answer all.

    parts
        Thoughts, texts and pieces of calls, in the order in which the model wrote them; every call has an id. Text that may
        yet turn out to be a call comes with a later update.
    finish_reason
        ``stop``, ``length``; None while it runs. stop_reason: the stop text or token id, None for the model's end token.
    logprobs
        For each token the chosen one and the likeliest, by token id; None when not asked for.
    calls
        Calls of tools begun so far, those in earlier updates too.
    """

    index: int
    parts: tuple[AnswerPart, ...]
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: tuple[Mapping[int, Logprob], ...] | None = None
    calls: int = 0

    @property
    def text(self) -> str:
        """Its texts, joined."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def thoughts(self) -> str:
        """What the model thinks, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Thought))

    @property
    def whole_parts(self) -> list[WholePart]:
        """Its parts, of an answer that is there: each text, thought and call in one piece."""
        return gathered(self.parts)

    @property
    def tool_uses(self) -> list[ToolUse]:
        """Its calls of tools, of an answer that is there."""
        return [part for part in self.whole_parts if isinstance(part, ToolUse)]


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """A prompt's tokens, and at the place of each that one and the likeliest, by token id; the first has none."""

    token_ids: tuple[int, ...]
    entries: tuple[Mapping[int, Logprob] | None, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """What is new in a stream. The first one comes with the first token, or at the end of the prompt if none is to come.

    ``prompt``: in the first one, where that was asked for. A continuation may have several choices, one behind the other.
    """

    choices: tuple[Choice, ...]
    usage: TokenUsage
    finished: bool
    diagnosis: Diagnosis | None = None
    prompt: PromptLogprobs | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; its usage is final."""

    choices: tuple[Choice, ...]
    usage: TokenUsage
    diagnosis: Diagnosis | None = None
    prompt: PromptLogprobs | None = None

"""Options of the server."""

from dataclasses import dataclass
from enum import StrEnum

from foreword.config import option, require, require_types
from foreword.prompt.client_heads import ClientHeads
from foreword.prompt.media import Media
from foreword.serving.reasoning import FORMS as REASONING_FORMS
from foreword.serving.reasoning import OFF
from foreword.serving.tool_forms.choice import FORMS


class Share(StrEnum):
    """Who may use whose cached prefixes."""

    TENANT = "tenant"
    PUBLIC_PREFIX = "public-prefix"
    ALL = "all"


@dataclass(frozen=True)
class ServerConfig:
    """Options of ``foreword serve`` beside those of the engine. Times are in seconds."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = option(8000, short="p")
    """Port to listen on; 0 takes a free one."""
    served_model_names: tuple[str, ...] = option((), name="served-model-name")
    """The model's name towards clients; more than one, and patterns such as ``claude-*``, for clients that ask for names of
    their own. Answers bear the name that was asked for. None given: the name it was loaded by."""
    api_key: str | None = option(None, secret=True)
    """API key that clients must send. Whoever has it is the tenant ``anonymous`` and may see the dashboard; keys of more
    tenants are in ``api_keys_file``."""
    api_keys_file: str | None = None
    """File with a line ``TENANT sha256:HASH`` for each key, as ``foreword api-key`` prints it; beside FOREWORD_API_KEYS."""
    allowed_hosts: tuple[str, ...] = option((), name="allowed-host")
    """Names that this server answers to, as in the Host and Origin of a request, beside those of this machine; ``*``: any.
    None given: names without a dot where there are no keys and ``host`` is a loopback address, so that no web page reaches
    it; else any."""
    allow_origins: tuple[str, ...] = option((), name="allow-origin")
    """Origins of web pages that may ask from a browser (CORS), such as ``https://app.example.com``; ``*``: any. None given:
    no page of elsewhere may read an answer."""
    share: str = Share.TENANT.value
    """``tenant``: each shares with itself only. ``public-prefix``: tools and system prompts are shared by all, what follows
    is not. ``all``: everything is shared."""
    client_heads: str = ClientHeads.LEAVE_OUT.value
    """What becomes of lines that clients write at the head of a system prompt anew in each session and that say nothing to a
    model, as the billing header of Claude Code: ``leave-out``, told in explanations, or ``keep``. ``move``: left out, and
    lines with today's date, the time or an id, and Claude Code's git status, move into the first turn of the user."""
    images: str = Media.REFUSE.value
    """What becomes of images, documents and sound, which the model cannot read: ``refuse``, or ``describe``: in their place
    stands a text that says so, and the conversation goes on."""
    max_body_bytes: int = option(8 * 2**20, name="max-body-mb", unit=2**20)
    """Largest request body."""
    max_receiving_bytes: int | None = option(None, name="max-receiving-mb", unit=2**20)
    """All bodies that are still coming in, together; None: 16 of the largest. Beyond that the one that has been coming
    longest is given up."""
    max_prompt_tokens: int | None = None
    """Longest prompt; None: what the model and its cache can hold."""
    min_cached_tokens: int = 0
    """Shortest prompt that reads and feeds the cache, as hosted models have it; 0: any."""
    max_queue: int = 256
    """Continuations that may wait beside those that run; a request beyond that is told to come back later."""
    max_requests_per_key: int = 64
    """Requests of one API key (or, without keys, of all) that may be open at a time."""
    max_choices: int = 16
    """Most continuations (``n``) and prompts of one request."""
    max_connections: int = 1024
    """Connections that may be open at a time, fewer where the process may not open so many files. Beyond that a new one
    takes the place of one that keeps the server waiting."""
    keep_alive_timeout: float = 60.0
    """Seconds that a connection may be idle between two requests."""
    request_timeout: float = 600.0
    """Seconds from a request's arrival to the end of its answer."""
    header_timeout: float = 10.0
    """Seconds for a request's head to arrive, from when the client connects or begins it."""
    body_timeout: float = 30.0
    """Seconds for a request's body to arrive; it counts against no limit of requests before it is in."""
    ping_seconds: float = 5.0
    """Seconds in which nothing comes after which a stream gets a sign of life: a comment, or Anthropic's ``ping``."""
    send_timeout: float = 60.0
    """Seconds that a client may leave a piece of its answer unread before it counts as gone."""
    drain_timeout: float = 30.0
    """Seconds at shutdown for open requests to be answered; then they end with an error."""
    idle_check_seconds: float = 10.0
    """Seconds in which nothing must happen before the cache checks its own books."""
    remembered_answers: int = 1000
    """Answers that a later request can be compared with, or be continued from."""
    operators: tuple[str, ...] = option((), name="operator")
    """Tenants whose keys may see the dashboard: figures and texts of all tenants. Whoever has ``api_key`` may, and everyone
    where there are no keys."""
    tool_call_form: str | None = None
    """How the model writes calls of tools: hermes, qwen-xml, llama, mistral, mistral-json, gemma, phi, deepseek,
    deepseek-tags, glm, kimi, minimax, gpt-oss. None: as its chat template shows it."""
    reasoning_form: str | None = None
    """How the model writes what it thinks before it answers: think, mistral, gemma, seed, cohere, exaone; ``none``: thoughts
    are told as text. None: as its chat template shows it; where that says nothing, what an answer begins with between
    ``<think>`` and ``</think>`` is thought."""
    trace: str | None = None
    """File to which a line is written for every request, without its words: a trace that `foreword replay` reads. A file of
    before is continued; None: no trace."""
    kv_events: str | None = None
    """Where to publish what enters and leaves the cache, for routers, in vLLM's format: ``tcp://HOST:PORT`` or
    ``ipc://PATH``. Whoever reaches it can read all prompts, as token ids. None: nowhere."""
    kv_events_replay: str | None = None
    """Where routers ask for events that they have missed, and for all that is cached. None: the port 1000 further on."""
    kv_events_topic: str = ""
    """First frame of every message of events, such as ``kv@POD@MODEL`` for llm-d."""
    log_prompts: bool = False
    """Whether the text of prompts is written into the log."""

    def __post_init__(self) -> None:
        require_types(self)
        known = ", ".join(share.value for share in Share)
        require(self.share in list(Share), f"share is {self.share!r}; known: {known}.")
        heads = ", ".join(way.value for way in ClientHeads)
        require(self.client_heads in list(ClientHeads), f"client_heads is {self.client_heads!r}; known: {heads}.")
        ways = ", ".join(way.value for way in Media)
        require(self.images in list(Media), f"images is {self.images!r}; known: {ways}.")
        require(0 <= self.port < 2**16, f"port is {self.port}; it must be between 0 and 65535.")
        for name in ("max_body_bytes", "max_requests_per_key", "max_choices", "remembered_answers", "max_connections"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; it must be at least 1.")
        for name in ("max_queue", "min_cached_tokens"):
            value = getattr(self, name)
            require(value >= 0, f"{name} is {value}; it cannot be negative.")
        forms = [form.name for form in FORMS]
        named = self.tool_call_form
        require(named is None or named in forms, f"tool_call_form is {named!r}; known: {', '.join(forms)}.")
        thoughts = [*(form.name for form in REASONING_FORMS), OFF]
        named = self.reasoning_form
        require(named is None or named in thoughts, f"reasoning_form is {named!r}; known: {', '.join(thoughts)}.")
        limit = self.max_prompt_tokens
        require(limit is None or limit >= 1, f"max_prompt_tokens is {limit}; it must be at least 1, or left out.")
        for name in ("kv_events", "kv_events_replay"):
            value = getattr(self, name)
            require(
                value is None or value.startswith(("tcp://", "ipc://")),
                f"{name} is {value!r}; it must be tcp://HOST:PORT or ipc://PATH.",
            )
        require(
            self.kv_events is not None or (self.kv_events_replay is None and not self.kv_events_topic),
            "kv_events_replay and kv_events_topic say how kv_events are published: give kv_events too.",
        )
        room, largest = self.max_receiving_bytes, self.max_body_bytes
        require(
            room is None or room >= largest, f"max_receiving_bytes is {room}; one body may have {largest} (max_body_bytes)."
        )
        for name in (
            "request_timeout",
            "header_timeout",
            "body_timeout",
            "send_timeout",
            "ping_seconds",
            "keep_alive_timeout",
            "idle_check_seconds",
        ):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}; it must be more than 0 seconds.")
        require(self.drain_timeout >= 0, f"drain_timeout is {self.drain_timeout}; it cannot be negative.")

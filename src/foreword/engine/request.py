"""A request as the engine takes it. Plain values; imports no torch."""

from dataclasses import dataclass

from foreword.cache import Mark
from foreword.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A prompt of token ids, and how to answer it.

    tokens
        The prompt, packed (``foreword.tokens``).
    request_id
        Any text that no unfinished request has; None: the engine makes one.
    text
        The prompt's text, for the output.
    tenant, cache_salt
        Two requests share cached prefixes only under the same of both.
    asked_by
        Who asked, for events: there may be a tenant that shares with all. None: ``tenant``.
    public_tokens
        So many leading tokens of a tenant's prompt are shared with all tenants.
    marks
        Prefixes that are to be kept longer.
    use_cache
        False: the request neither reads nor feeds the cache.
    stream
        Whether there is news after every token, or only at the end.
    """

    tokens: bytes
    params: SamplingParams
    request_id: str | None = None
    text: str | None = None
    tenant: str | None = None
    cache_salt: str | None = None
    asked_by: str | None = None
    public_tokens: int = 0
    marks: tuple[Mark, ...] = ()
    use_cache: bool = True
    stream: bool = True

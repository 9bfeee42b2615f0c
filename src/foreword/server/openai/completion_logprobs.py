"""Log-probabilities as completions have them: lists by token, of the answer and, where it is repeated, of the prompt."""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from foreword.outputs import Logprob
from foreword.server.openai.usage import finite, likeliest, token_names
from foreword.serving.neutral import Choice, PromptLogprobs

Json = dict[str, Any]


class Place(NamedTuple):
    """A token, its bytes, what it is called, and the names and entries at its place; None for a text's first token."""

    token: int
    raw: bytes
    name: str
    names: Mapping[int, str]
    entries: Mapping[int, Logprob] | None


def places(tokens: Iterable[int], entries: Iterable[Mapping[int, Logprob]], as_ids: bool) -> Iterator[Place]:
    """Tokens that have entries. ``as_ids``: they are called by their numbers, ``token_id:17``."""
    for token, at in zip(tokens, entries, strict=False):
        names = {each: f"token_id:{each}" for each in at} if as_ids else token_names(at)
        yield Place(token, at[token].token_bytes, names[token], names, at)


def prompt_places(told: PromptLogprobs, as_ids: bool, token: Callable[[int], tuple[str, bytes]]) -> Iterator[Place]:
    """Those of a prompt; ``token`` tells of the first one, which has no entries, its text and bytes."""
    first, *others = told.token_ids
    text, raw = token(first)
    yield Place(first, raw, f"token_id:{first}" if as_ids else text, {}, None)
    yield from places(others, (at for at in told.entries[1:] if at is not None), as_ids)


class CompletionLogprobs:
    """Those of one choice, as its pieces come: ``text_offset`` counts characters from the first token told."""

    def __init__(self, most: int, as_ids: bool):
        self._most, self._as_ids = most, as_ids
        self._characters = 0
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, choice: Choice, before: Iterable[Place] = ()) -> Json:
        """``logprobs`` of what is new of the choice, behind some tokens of its prompt."""
        told = [*before, *places(choice.token_ids, choice.logprobs or (), self._as_ids)]
        return {
            "tokens": [place.name for place in told],
            "token_logprobs": [
                None if place.entries is None else finite(place.entries[place.token].logprob) for place in told
            ],
            "top_logprobs": [None if place.entries is None else self._top(place.names, place.entries) for place in told],
            "text_offset": [self._offset(place.raw) for place in told],
        }

    def _top(self, names: Mapping[int, str], entries: Mapping[int, Logprob]) -> dict[str, float]:
        """The worst first: where two have one name, the likelier stays."""
        return {names[each]: finite(entries[each].logprob) for each in reversed(likeliest(entries, self._most))}

    def _offset(self, raw: bytes) -> int:
        """Where a token's text begins; a token within a character begins where that does."""
        at = self._characters
        self._characters += len(self._utf8.decode(raw))
        return at


def prompt_logprobs(told: PromptLogprobs | None) -> list[Json | None] | None:
    """``prompt_logprobs`` as vLLM has them: for each token of the prompt, by token id, what is known at its place."""
    if told is None:
        return None
    return [None if at is None else {str(token): _entry(at[token]) for token in at} for at in told.entries]


def _entry(entry: Logprob) -> Json:
    return {"logprob": finite(entry.logprob), "rank": entry.rank, "decoded_token": entry.decoded_token}

"""Requests with one planted cause each, through the real cache: does the observer name the cause, and the very token?

Conversations are rendered by a chat template and tokenized by the packaged tokenizer; prompts go through PrefixCache as the
engine's do, with a hash of nothing for KV. Each case is a first request, or several, and then the one with the fault: a
timestamp that moved on, tools in another order, a history that the template writes otherwise. The place where it parts from
the first is found here by comparing the two lists of token ids one by one.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import tokenizers

import foreword
from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrefixCache, pack_tokens
from foreword.events import RequestFinished
from foreword.observe import Observer, ObserverConfig, PromptShape, Reason, shape_of
from foreword.prompt import HubTokenizer, PromptTemplate, segment
from foreword.replay import process
from foreword.testing.events import finished

TOKENIZER = Path(foreword.__file__).parent / "weights" / "table_reader" / "tokenizer.json"
MINIMUM_TOKENS = 64
TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>system\n' }}{% if messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif %}\
{{ 'You may call:\n' }}{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}{{ '<|im_end|>\n' }}\
{%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif %}\
{%- for message in messages %}{% if message.role != 'system' %}{{ '<|im_start|>' + message.role + '\n' }}\
{%- if message.role == 'assistant' and '</think>' in message.content and not keep_reasoning %}\
{{- message.content.split('</think>')[-1].lstrip() }}{% else %}{{ message.content }}{% endif %}\
{{- '<|im_end|>\n' }}{% endif %}\
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """What a client sends, and under which identity; ``text`` is a prompt without a template."""

    messages: tuple[Message, ...]
    text: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    namespace: Namespace = Namespace(ModelFingerprint("weights-1"))
    use_cache: bool = True
    answer: str = ""
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Case:
    """Requests that go before, the faulty one, and what is to be found.

    ``lost_blocks``: at least so many blocks of the request before are evicted, where that is the cause; 0: all.
    """

    before: tuple[Conversation, ...]
    faulty: Conversation
    reason: Reason
    lost_blocks: int = 0


@dataclass(frozen=True)
class Verdict:
    """What was planted and what was found: reason and token."""

    planted: Reason
    found: Reason
    planted_position: int
    found_position: int


class World:
    """A cache with an observer; requests come one after another."""

    def __init__(self, num_blocks: int = 4096):
        self.template = PromptTemplate(TEMPLATE, HubTokenizer.from_json(TOKENIZER.read_text(encoding="utf-8")))
        self.cache = PrefixCache(CacheConfig(num_blocks=num_blocks))
        self.observer = Observer(ObserverConfig(minimum_tokens=MINIMUM_TOKENS))
        self.now = 0.0
        self._names = 0
        self._asked: dict[str, Conversation] = {}
        self.floods = 0
        self._decoder = _decoder()

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""
        return self._decoder(token_ids)

    def shape(self, request_id: str) -> PromptShape | None:
        """The pieces of a request's prompt; None for one that was written as a text."""
        asked = self._asked[request_id]
        if asked.text is not None:
            return None
        found = segment(self.template, asked.messages, asked.tools or None, **dict(asked.options))
        return shape_of(found, asked.messages, asked.tools)

    def tokens(self, conversation: Conversation) -> list[int]:
        """The token ids of a conversation, as the template renders it."""
        if conversation.text is not None:
            return self.template.encode(conversation.text)
        text = self.template.render(conversation.messages, conversation.tools or None, **dict(conversation.options))
        return self.template.encode(text)

    def ask(self, conversation: Conversation) -> RequestFinished:
        """Run a request from beginning to end, and tell the observer."""
        self.now += 1
        self._names += 1
        name, ids = f"request-{self._names}", self.tokens(conversation)
        self._asked[name] = conversation
        packed = pack_tokens(ids)
        answer = pack_tokens(self.template.encode(conversation.answer)) if conversation.answer else b""
        space = conversation.namespace
        ledger = process(self.cache, space, packed, self.now, generated=answer, use_cache=conversation.use_cache)
        assert ledger is not None
        event = finished(packed, ledger.account(), space, self.now, name, answer)
        self.observer(event)
        return event


def run_case(world: World, case: Case) -> Verdict:
    """Ask the requests of a case, and compare the explanation of the last with what was planted."""
    size = world.cache.config.num_blocks
    if case.lost_blocks:
        push_out(world, size)  # all else in the cache is older, and evicted first
    for earlier in case.before:
        world.ask(earlier)
    if case.reason is Reason.EVICTED:
        blocks = -(-len(world.tokens(case.before[0])) // world.cache.config.block_size)
        push_out(world, size - blocks + case.lost_blocks if case.lost_blocks else size)
    position = _position(world, case)
    event = world.ask(case.faulty)
    found = world.observer.explain(event.request_id, world)
    return Verdict(case.reason, found.full_reason, position, found.position)


def _position(world: World, case: Case) -> int:
    """The token at which the hit must end, by comparing token ids one by one; where some went, what is left of them."""
    ids = world.tokens(case.faulty)
    if case.reason in (Reason.DISABLED, Reason.BELOW_MINIMUM):
        return 0
    if case.reason is Reason.EVICTED:
        return world.cache.match(case.before[0].namespace, pack_tokens(world.tokens(case.before[0]))).cached
    longest = 0
    for earlier in case.before:
        if earlier.namespace == case.faulty.namespace and earlier.use_cache:
            old = world.tokens(earlier) + world.template.encode(earlier.answer)
            longest = max(longest, len(list(takewhile(lambda pair: pair[0] == pair[1], zip(old, ids, strict=False)))))
    return min(longest, len(ids) - 1)


def push_out(world: World, blocks: int) -> None:
    """Put something else into so many blocks of the cache; what was used longest ago makes room."""
    world.now += 1
    world.floods += 1
    size = blocks * world.cache.config.block_size
    flood = Namespace(ModelFingerprint(f"flood-{world.floods}"))
    assert process(world.cache, flood, pack_tokens(range(size)), world.now) is not None


def run_cases(count: int, seed: int = 1) -> list[Verdict]:
    """Run so many planted cases in one world."""
    world = World()
    return [run_case(world, case) for case in Planter(seed).cases(count)]


def matrix(verdicts: Iterable[Verdict]) -> str:
    """Planted against found, as a Markdown table, and how many tokens were exact."""
    verdicts = list(verdicts)
    pairs = Counter((verdict.planted, verdict.found) for verdict in verdicts)
    names = sorted({reason for pair in pairs for reason in pair})
    numbers = {name: str(number) for number, name in enumerate(names, 1)}
    lines = ["| planted | " + " | ".join(numbers[name] for name in names) + " | requests |", "|---" * (len(names) + 2) + "|"]
    for planted in names:
        row = [str(pairs[planted, found] or "·") for found in names]
        total = sum(pairs[planted, found] for found in names)
        lines.append(f"| {numbers[planted]} `{planted}` | " + " | ".join(row) + f" | {total} |")
    right = sum(verdict.planted == verdict.found for verdict in verdicts)
    exact = sum(verdict.planted_position == verdict.found_position for verdict in verdicts)
    lines += ["", f"Reason right: {right} of {len(verdicts)}. Token exact: {exact} of {len(verdicts)}."]
    return "\n".join(lines)


class Planter:
    """Makes cases. Every conversation has its own words, so that cases do not meet."""

    def __init__(self, seed: int = 0):
        self.random = random.Random(seed)
        self._number = 0

    def cases(self, count: int) -> Iterator[Case]:
        """``count`` cases, all causes in turn."""
        for number in range(count):
            yield self._causes()[number % len(self._causes())]()

    def _causes(self) -> Sequence[Callable[[], Case]]:
        return (
            self.complete, self.first_seen, self.diverged, self.evicted, self.another_tenant, self.disabled,
            self.volatile_value, self.tools_reordered, self.json_reordered, self.reasoning_stripped,
            self.reasoning_kept, self.other_weights, self.other_adapter, self.below_minimum, self.volatile_head,
            self.evicted_tail,
        )  # fmt: skip

    def complete(self) -> Case:
        """The same conversation once more."""
        asked = self._conversation()
        return Case((asked,), asked, Reason.COMPLETE)

    def first_seen(self) -> Case:
        """The conversation goes on: nothing cached does."""
        first = self._conversation(answer=self._words(12) + "<|im_end|>\n")
        turn = {"role": "user", "content": self._words(15)}
        history = (*first.messages, {"role": "assistant", "content": first.answer.removesuffix("<|im_end|>\n")}, turn)
        return Case((first,), replace(first, messages=history, answer=""), Reason.FIRST_SEEN)

    def diverged(self) -> Case:
        """Another last message."""
        first = self._conversation()
        return Case((first,), self._with(first, -1, self._words(20)), Reason.DIVERGED)

    def evicted(self) -> Case:
        """A last message that goes on, after what was cached has made room."""
        first = self._conversation()
        return Case((first,), self._with(first, -1, first.messages[-1]["content"] + self._words(5)), Reason.EVICTED)

    def evicted_tail(self) -> Case:
        """Only the end of what was cached had to make room."""
        first = self._conversation(system=self._words(60))
        changed = self._with(first, -1, first.messages[-1]["content"] + self._words(5))
        return Case((first,), changed, Reason.EVICTED, lost_blocks=self.random.randrange(2, 12))

    def another_tenant(self) -> Case:
        """The same conversation by another tenant."""
        first = self._conversation()
        other = replace(first.namespace, tenant=f"tenant-{self._number}")
        return Case((first,), replace(first, namespace=other), Reason.NAMESPACE_DIFFERS)

    def disabled(self) -> Case:
        """The same conversation, with the cache off."""
        first = self._conversation()
        return Case((first,), replace(first, use_cache=False), Reason.DISABLED)

    def volatile_value(self) -> Case:
        """A value in the system prompt moves on between two requests."""
        before, after = self._words(10), self._words(60)
        old, new = self._two_values()
        first = self._conversation(system=f"{before}. {old}. {after}")
        return Case((first,), self._with(first, 0, f"{before}. {new}. {after}"), Reason.VOLATILE_VALUE)

    def volatile_head(self) -> Case:
        """A nonce is the very first thing in the prompt: hardly a token is shared."""
        self._number += 1
        space = Namespace(ModelFingerprint("weights-1"), cache_salt=f"salt-{self._number}")
        rest = self._words(60)
        old, new = (Conversation((), namespace=space, text=f"{_uuid(self.random)}\n{rest}") for _ in range(2))
        return Case((old,), new, Reason.VOLATILE_VALUE)

    def tools_reordered(self) -> Case:
        """The same tools in another order."""
        first = self._conversation(tools=tuple(self._tool() for _ in range(4)))
        order = list(first.tools)
        while tuple(order) == first.tools:
            self.random.shuffle(order)
        return Case((first,), replace(first, tools=tuple(order)), Reason.TOOLS_REORDERED)

    def json_reordered(self) -> Case:
        """The same record in the system prompt, its keys in another order."""
        record = {self._words(1): self._words(3) for _ in range(6)}
        keys = list(record)
        other = keys.copy()
        while other == keys:
            self.random.shuffle(other)
        old, new = (json.dumps({key: record[key] for key in order}) for order in (keys, other))
        before, after = self._words(10), self._words(40)
        first = self._conversation(system=f"{before}: {old} {after}")
        return Case((first,), self._with(first, 0, f"{before}: {new} {after}"), Reason.JSON_REORDERED)

    def reasoning_stripped(self) -> Case:
        """The model thought aloud; the template leaves that out of the history."""
        said = self._words(12)
        first = self._conversation(answer=f"<think>\n{self._words(20)}\n</think>\n\n{said}<|im_end|>\n")
        turn = {"role": "user", "content": self._words(15)}
        history = (*first.messages, {"role": "assistant", "content": said}, turn)
        return Case((first,), replace(first, messages=history, answer=""), Reason.TEMPLATE_RERENDER)

    def reasoning_kept(self) -> Case:
        """The same messages, but the template is asked to keep the reasoning of the history that it left out before."""
        said, thought = self._words(12), self._words(15)
        turns = (
            {"role": "user", "content": self._words(15)},
            {"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\n{said}"},
            {"role": "user", "content": self._words(15)},
        )
        first = replace(self._conversation(), messages=({"role": "system", "content": self._words(30)}, *turns))
        return Case((first,), replace(first, options=(("keep_reasoning", True),)), Reason.TEMPLATE_RERENDER)

    def other_weights(self) -> Case:
        """The same conversation with other weights."""
        first = self._conversation()
        other = Namespace(ModelFingerprint(f"weights-{self._number}"))
        return Case((first,), replace(first, namespace=other), Reason.ADAPTER_OR_WEIGHTS_CHANGED)

    def other_adapter(self) -> Case:
        """The same conversation with an adapter."""
        first = self._conversation()
        other = replace(first.namespace, adapter=f"adapter-{self._number}")
        return Case((first,), replace(first, namespace=other), Reason.ADAPTER_OR_WEIGHTS_CHANGED)

    def below_minimum(self) -> Case:
        """Shorter than what the server caches: it does not look it up."""
        first = self._conversation()
        short = Conversation(({"role": "user", "content": "Hi"},), use_cache=False)
        return Case((first,), short, Reason.BELOW_MINIMUM)

    def _conversation(self, system: str | None = None, **options: Any) -> Conversation:
        self._number += 1
        head = f"Case {_letters(self._number)}. " + (system or self._words(40))
        messages = ({"role": "system", "content": head}, {"role": "user", "content": self._words(20)})
        return Conversation(messages, **options)

    def _with(self, conversation: Conversation, index: int, content: str) -> Conversation:
        """The conversation with another text in a message; the head of the system prompt stays."""
        messages = list(conversation.messages)
        if index == 0:
            content = messages[0]["content"].split(". ")[0] + ". " + content
        messages[index] = {**messages[index], "content": content}
        return replace(conversation, messages=tuple(messages))

    def _two_values(self) -> tuple[str, str]:
        """The same kind of value, twice."""
        pick = self.random.randrange
        make: Callable[[], str] = self.random.choice(
            [
                lambda: f"Today is 20{pick(10, 30)}-{pick(10, 13)}-{pick(10, 29)}",
                lambda: f"The time is {pick(10, 24)}:{pick(10, 60)}:{pick(10, 60)}",
                lambda: f"Now: 2026-11-{pick(10, 31)}T{pick(10, 24)}:{pick(10, 60)}:{pick(10, 60)}Z",
                lambda: f"Unix time {pick(1_700_000_000, 1_799_999_999)}",
                lambda: f"Session {_uuid(self.random)}",
                lambda: f"nonce: {self.random.getrandbits(128):032x}",
                lambda: f"request id: req_{pick(10**9, 10**10)}",
                lambda: f"turn: {pick(10, 100)}",
            ]
        )
        old = new = make()
        while new == old:
            new = make()
        return old, new

    def _tool(self) -> dict[str, Any]:
        properties = {self._words(1): {"type": "string", "description": self._words(4)} for _ in range(2)}
        function = {
            "name": self._words(1),
            "description": self._words(8),
            "parameters": {"type": "object", "properties": properties},
        }
        return {"type": "function", "function": function}

    def _words(self, count: int) -> str:
        return " ".join("".join(self.random.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count))


def _letters(number: int) -> str:
    """A number in letters: no value that looks volatile."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _uuid(source: random.Random) -> str:
    digits = f"{source.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _decoder() -> Callable[[list[int]], str]:
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    return lambda token_ids: str(tokenizer.decode(token_ids, skip_special_tokens=False))

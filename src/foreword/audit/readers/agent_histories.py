"""Histories of agents: a conversation as it stands at the end. Before each of the assistant's messages stood a request."""

from collections.abc import Iterable, Iterator
from typing import Any

from foreword.audit.readers.base import LogLineError, LogReader, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of, message_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import listed, mapping, opened, seconds
from foreword.audit.request import LoggedRequest

SPEAKERS = frozenset({"system", "developer", "user", "assistant", "tool"})
ANTHROPIC_BLOCKS = frozenset({"tool_use", "tool_result", "thinking"})


def requests_of(messages: list[Any], line: int, kind: str, model: str = "") -> Iterator[LoggedRequest]:
    """A request for each of the assistant's messages, with all that stood before it."""
    said = [message for message in map(message_of, messages) if message is not None]
    vendor: dict[str, Any] = {"system": []} if any(_is_anthropic(message) for message in said) else {}
    for i, message in enumerate(said):
        if message["role"] == "assistant" and i:
            body: dict[str, Any] = {"model": model, **vendor, "messages": said[:i]}
            if vendor and said[0]["role"] == "system":
                body |= {"system": said[0].get("content"), "messages": said[1:i]}
            yield request_of(body, line, Around(kind=kind, model=model))


def _is_anthropic(message: Record) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") in ANTHROPIC_BLOCKS for block in content
    )


class Messages(LogReader):
    """Histories of one message a record: Cline's ``api_conversation_history.json``, and lists of chat messages."""

    kind = "history of messages"

    def __init__(self) -> None:
        self._messages: list[Record] = []
        self._line = 0

    def recognises(self, record: Record) -> bool:
        said = "content" in record or "tool_calls" in record
        return said and record.get("role") in SPEAKERS and "messages" not in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if record["role"] == "system" and self._messages:
            yield from self.finish()
        self._messages.append(record)
        self._line = line

    def finish(self) -> Iterable[LoggedRequest]:
        messages, self._messages = self._messages, []
        yield from requests_of(messages, self._line, self.kind)


class SweAgent(Stateless):
    """Trajectories of SWE-agent and mini-SWE-agent (``.traj``)."""

    kind = "SWE-agent trajectory"

    def recognises(self, record: Record) -> bool:
        return "info" in record and ("trajectory" in record or "trajectory_format" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        steps = [mapping(step) for step in listed(record.get("trajectory"))]
        asked = [body for body in (body_of(step.get("query")) for step in steps) if body is not None]
        if asked:
            for body in asked:
                yield request_of(body, line, Around(kind=self.kind))
            return
        history = listed(record.get("history")) or listed(record.get("messages"))
        if not history:
            raise LogLineError("the SWE-agent trajectory holds no history and no queries")
        yield from requests_of(history, line, self.kind, str(mapping(record["info"]).get("model") or ""))


class OpenHands(Stateless):
    """OpenHands' lists of events hold no requests; its logs of completions do, and are read as bodies."""

    kind = "OpenHands events"

    def recognises(self, record: Record) -> bool:
        return record.get("source") in ("agent", "user", "environment") and ("action" in record or "observation" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        raise LogLineError(
            f"an OpenHands event ({record['source']}, line {line}), which does not hold the request; set "
            "log_completions = true under [llm] and give the files of its log_completions_folder"
        )


class Inspect(Stateless):
    """Logs of inspect in JSON: each call of a model is an event of a sample."""

    kind = "inspect log"

    def recognises(self, record: Record) -> bool:
        return ("eval" in record and "samples" in record) or (record.get("event") == "model" and "input" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        if "samples" not in record:
            yield from self._event(record, line)
            return
        model = str(mapping(record.get("eval")).get("model") or "")
        for sample in map(mapping, listed(record.get("samples"))):
            events = [e for e in map(mapping, listed(sample.get("events"))) if e.get("event") == "model"]
            for event in events:
                yield from self._event(event, line)
            if not events:
                yield from requests_of(listed(sample.get("messages")), line, self.kind, model)

    def _event(self, event: Record, line: int) -> Iterator[LoggedRequest]:
        asked = mapping(event.get("call")).get("request")
        body = body_of(mapping(asked)) or body_of(event.get("input"))
        if body is None:
            raise LogLineError("the inspect event holds no messages")
        if "tools" not in body and listed(event.get("tools")):
            body["tools"] = [{"type": "function", "function": tool} for tool in listed(event.get("tools"))]
        usage = mapping(usage_of_answer(event.get("output")))
        told = {
            "input_tokens": usage.get("input_tokens"),
            "input_tokens_details": {
                "cached_tokens": usage.get("input_tokens_cache_read"),
                "cache_write_tokens": usage.get("input_tokens_cache_write"),
            },
        }
        model = str(event.get("model") or "")
        around = Around(kind=self.kind, model=model, time=seconds(event.get("timestamp")), usage=told if usage else None)
        yield request_of({**body, "model": model}, line, around)


class Promptfoo(Stateless):
    """Results of promptfoo: the prompt of each result, a text or messages as JSON."""

    kind = "promptfoo results"

    def recognises(self, record: Record) -> bool:
        return "evalId" in record or ("prompt" in record and "vars" in record and "provider" in record)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        results = record.get("results", record)
        rows = listed(mapping(results).get("results")) or ([record] if "prompt" in record else [])
        for row in map(mapping, rows):
            prompt = mapping(row.get("prompt")).get("raw") or row.get("prompt")
            body = body_of(opened(prompt))
            if body is None or mapping(row.get("response")).get("cached"):
                continue
            provider = row.get("provider")
            name = str(mapping(provider).get("id") or provider or "")
            told = mapping(mapping(row.get("response")).get("tokenUsage"))
            usage = {"prompt_tokens": told["prompt"]} if "prompt" in told else None
            yield request_of(body, line, Around(kind=self.kind, model=name.rsplit(":", 1)[-1], usage=usage))

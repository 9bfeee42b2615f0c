"""LangSmith's runs of models; their messages are LangChain's, written as constructors or as plain messages."""

from collections.abc import Iterable
from typing import Any

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import first, listed, mapping, seconds
from foreword.audit.request import LoggedRequest


class LangSmith(Stateless):
    """Runs of LangSmith, with their children; only those of a model (``llm``) hold a request."""

    kind = "LangSmith runs"

    def recognises(self, record: Record) -> bool:
        return "run_type" in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        for child in listed(record.get("child_runs")):
            if "run_type" in mapping(child):
                yield from self.read(child, line)
        if record["run_type"] == "llm":
            yield self._request(record, line)

    def _request(self, record: Record, line: int) -> LoggedRequest:
        inputs, extra = mapping(record.get("inputs")), mapping(record.get("extra"))
        asked = mapping(extra.get("invocation_params"))
        body = body_of(inputs)
        if body is None:
            raise LogLineError("the run holds no messages (its inputs were hidden: LANGSMITH_HIDE_INPUTS)")
        start = seconds(record.get("start_time"))
        end = seconds(first(record, ("first_token_time", "end_time")))
        around = Around(
            kind=self.kind,
            model=str(first(asked, ("model", "model_name")) or mapping(extra.get("metadata")).get("ls_model_name") or ""),
            time=start,
            first_token=None if start is None or end is None else max(0.0, end - start),
            usage=_usage(mapping(record.get("outputs"))),
        )
        tools = asked.get("tools")
        return request_of({**({"tools": tools} if isinstance(tools, list) else {}), **body}, line, around)


def _usage(outputs: Record) -> Any:
    """The usage of a run: of its message, or of the call as the vendor's SDK told it."""
    found = usage_of_answer(outputs)
    if found is not None:
        return found
    told = mapping(outputs.get("llm_output")).get("token_usage")
    if told is not None:
        return told
    for row in outputs.get("generations") or () if isinstance(outputs.get("generations"), list) else ():
        for one in row if isinstance(row, list) else [row]:
            message = mapping(mapping(one).get("message"))
            found = usage_of_answer(mapping(message.get("kwargs")) or message)
            if found is not None:
                return found
    return None

"""LiteLLM's table of spend logs: the body is JSON text in a row."""

from collections.abc import Iterable
from dataclasses import replace

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.body import dialect
from foreword.audit.readers.envelope import around_of, request_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import listed, mapping
from foreword.audit.request import LoggedRequest


class LiteLlmSpend(Stateless):
    """Rows of LiteLLM's table of spend logs: the body is JSON text in ``proxy_server_request``."""

    kind = "LiteLLM spend logs"

    def recognises(self, record: Record) -> bool:
        return "proxy_server_request" in record and "request" not in record

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        body = mapping(record["proxy_server_request"])
        body = mapping(body.get("body")) or body
        if dialect(body) is None:
            messages = listed(record.get("messages"))
            if not messages:
                raise LogLineError(
                    "the row holds no prompt; set general_settings.store_prompts_in_spend_logs: true in LiteLLM"
                )
            body = {"model": record.get("model"), "messages": messages}
        metadata = mapping(record.get("metadata"))
        around = around_of({**record, "metadata": metadata}, body, record, self.kind)
        usage = metadata.get("usage_object") or usage_of_answer(record.get("response"))
        if usage is None and "prompt_tokens" in record:
            usage = {"prompt_tokens": record["prompt_tokens"]}
        yield request_of(body, line, replace(around, usage=usage))

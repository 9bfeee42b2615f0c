"""Bedrock's model invocation logs."""

from collections.abc import Iterable

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.usage import usage_of_answer
from foreword.audit.readers.values import mapping, seconds
from foreword.audit.request import LoggedRequest


class BedrockInvocations(Stateless):
    """Bedrock's model invocation logs: the body in ``input.inputBodyJson``."""

    kind = "Bedrock invocation log"

    def recognises(self, record: Record) -> bool:
        return "modelId" in record and isinstance(record.get("input"), dict)

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:
        asked = record["input"]
        body = mapping(asked.get("inputBodyJson"))
        if not body:
            raise LogLineError("the invocation log holds no body (inputBodyS3Path): fetch the object, or log bodies inline")
        around = Around(
            kind=self.kind,
            model=str(record["modelId"]).rsplit("/", 1)[-1],
            provider="bedrock",
            time=seconds(record.get("timestamp")),
            usage=usage_of_answer(mapping(record.get("output")).get("outputBodyJson")),
        )
        yield request_of(body, line, around)

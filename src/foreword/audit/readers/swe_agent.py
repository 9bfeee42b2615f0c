"""SWE-agent's and mini-SWE-agent's trajectories: the queries of each step, or the history."""

from collections.abc import Iterable

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.conversation_forms import body_of
from foreword.audit.readers.envelope import Around, request_of
from foreword.audit.readers.histories import requests_of
from foreword.audit.readers.values import listed, mapping
from foreword.audit.request import LoggedRequest


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

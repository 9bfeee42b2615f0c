"""OpenHands' events, which are refused: the requests are in another log of it."""

from collections.abc import Iterable

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.request import LoggedRequest


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

"""What is well known and holds no whole requests: data sets, and sessions of which the prompts are kept elsewhere. Each is
refused by its name, with a way to a log that can be read.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from foreword.audit.readers.base import LogLineError, Record, Stateless
from foreword.audit.readers.values import listed, mapping
from foreword.audit.request import LoggedRequest

DATA_SET = (
    "it is a data set for training or judging models, not a log of requests: give the log of what was sent to the model"
)
RECORDED = (
    "it keeps what was said, not what was sent: record the requests (a HAR file, or a proxy that logs bodies) and give those"
)


@dataclass(frozen=True)
class Unread:
    """A kind by its name, the fields that all its records have, and the way out."""

    name: str
    fields: frozenset[str]
    way: str

    def fits(self, record: Record) -> bool:
        """Whether a record has those fields."""
        return self.fields <= record.keys()


KINDS = (
    Unread("ShareGPT conversation", frozenset({"conversations"}), DATA_SET),
    Unread("Alpaca record", frozenset({"instruction", "output"}), DATA_SET),
    Unread("comparison of Chatbot Arena", frozenset({"conversation_a", "conversation_b"}), DATA_SET),
    Unread("LMSYS or WildChat conversation", frozenset({"conversation", "model"}), DATA_SET),
    Unread("preference pair", frozenset({"chosen", "rejected"}), DATA_SET),
    Unread("pair of prompt and completion", frozenset({"prompt", "completion"}), DATA_SET),
    Unread("Copilot Chat export", frozenset({"requesterUsername", "requests"}), RECORDED),
    Unread("Continue session", frozenset({"sessionId", "history"}), RECORDED),
    Unread("Cursor conversation", frozenset({"composerId"}), RECORDED),
    Unread("opencode session", frozenset({"info", "messages"}), RECORDED),
    Unread("opencode message", frozenset({"sessionID", "role"}), RECORDED),
    Unread("Goose session", frozenset({"working_dir", "message_count"}), RECORDED),
)
MLFLOW = (
    "MLflow trace, which is not read: give the bodies that its model spans hold, a line each "
    "(jq -c '.data.spans[].attributes[\"mlflow.spanInputs\"] | fromjson | select(.messages)')"
)
OPENROUTER = "OpenRouter's record of a generation, which has figures and no prompt: give the requests, with its usage beside"


class KnownUnread(Stateless):
    """Records of known kinds that hold no whole request."""

    kind = "not read"

    def recognises(self, record: Record) -> bool:
        """See LogReader."""
        return _why(record) is not None

    def read(self, record: Record, line: int) -> Iterable[LoggedRequest]:  # noqa: ARG002 (the protocol's)
        """See LogReader. LogLineError always."""
        raise LogLineError(_why(record) or "")


def _why(record: Record) -> str | None:
    if "spans" in mapping(record.get("data")) and "info" in record:
        return MLFLOW
    if "native_tokens_prompt" in mapping(record.get("data")) or "native_tokens_prompt" in record:
        return OPENROUTER
    if "messages" in record and all("role" in mapping(message) for message in listed(record["messages"])):
        return None  # a body, whatever stands beside it
    kind = next((kind for kind in KINDS if kind.fits(record)), None)
    return None if kind is None else f"{kind.name}: {kind.way}"

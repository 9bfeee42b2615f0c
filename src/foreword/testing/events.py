"""Events as an engine would send them, made without one."""

from foreword.account import Account
from foreword.cache import Namespace, PrivatePart
from foreword.events import RequestFinished


def finished(
    tokens: bytes,
    account: Account,
    namespace: Namespace,
    now: float,
    name: str,
    generated: bytes = b"",
    private: PrivatePart | None = None,
) -> RequestFinished:
    """The event of a request (packed tokens) that came, was answered with ``generated`` and ended at one moment."""
    return RequestFinished(
        request_id=name,
        namespace=namespace.key,
        identity=(namespace.model.weights, namespace.adapter, namespace.tenant, namespace.cache_salt),
        tenant=namespace.tenant,
        tokens=tokens,
        generated=generated,
        arrival=now,
        admitted=now,
        first_token=now,
        finished=now,
        outcome="stop",
        account=account,
        owner=None if private is None else private.owner,
        private_from=0 if private is None else private.start,
    )

"""Who looks at what is told of the cache, and what it may see.

Who is no operator is told nothing that depends on namespaces that are not its own: see docs/explanation/isolation.md.
"""

from dataclasses import replace

from fastapi import Request

from foreword.errors import ForbiddenError, NotFoundError
from foreword.events import RequestFinished
from foreword.observe import Explanation, Observer, Reason
from foreword.server.http import caller, parts
from foreword.server.parts import ServerParts
from foreword.server.tenants import ANONYMOUS
from foreword.serving.fleet_view import FleetState, Placed
from foreword.serving.observation import Observation

SALT_HEADER = "x-cache-salt"
"""Header, in UTF-8, with the ``cache_salt`` of the requests that a key wants to see; those without a salt else."""
ID_DIGITS = 32  # of a request, whatever a dialect puts before them
CLASSIFIED = 8  # requests whose finer reasons are found at each look


def is_operator(tenant: str, served: ServerParts) -> bool:
    """Whether a tenant may see all: it is named so, or has the server's own key, or there are no keys."""
    has_servers_key = served.config.api_key is not None and tenant == ANONYMOUS
    return not served.tenants.by_hash or has_servers_key or tenant in served.config.operators


def require_operator(tenant: str, served: ServerParts) -> None:
    """ForbiddenError for all but operators."""
    if not is_operator(tenant, served):
        raise ForbiddenError(
            f"The tenant {tenant!r} may see its own requests only. Figures of all tenants are for operators: "
            f"start the server with --operator {tenant}."
        )


class Viewer:
    """Who looks: an operator, who may see all, or a tenant, which may see its own requests of one salt."""

    def __init__(self, request: Request):
        self._served = parts(request)
        self.observation: Observation = self._served.observation
        self.tenant = caller(request).tenant
        self.operator = is_operator(self.tenant, self._served)
        salt = request.headers.get(SALT_HEADER)
        self._salt = None if salt is None else salt.encode("latin-1").decode("utf-8", "replace")

    def require_operator(self) -> None:
        """ForbiddenError for all but operators."""
        require_operator(self.tenant, self._served)

    def fleet(self) -> FleetState | None:
        """The replicas behind the server; None where it is one engine. For operators."""
        self.require_operator()
        return None if self._served.fleet is None else self._served.fleet.fleet_state()

    def placed(self, request_id: str) -> Placed | None:
        """Where a request went that the viewer may see; what others hold and wait for is told to operators alone."""
        fleet = self._served.fleet
        return fleet.placed(request_id) if self.operator and fleet is not None else None

    def may_see(self, request: RequestFinished) -> bool:
        """Whether a request is the viewer's own, or the viewer an operator."""
        model, adapter, tenant, salt = request.identity
        del model, adapter, tenant
        return self.operator or (request.tenant == self.tenant and salt == self._salt)

    def explanation(self, observer: Observer, request_id: str) -> Explanation:
        """Why a request hit or missed, as the viewer may know it; ids also without what a dialect puts before them.

        NotFoundError, the same one, for a request that is not there and for one that the viewer may not see.
        """
        whole = len(request_id) < ID_DIGITS
        for request in observer.recent.newest():
            known = request.request_id
            if self.may_see(request) and (known == request_id if whole else known.endswith(request_id)):
                return self._explained(observer, known)
        if self.operator:
            observer.recent.get(request_id)  # says whether it has been forgotten
        raise NotFoundError(
            f"Request {request_id!r} is not known to the tenant {self.tenant!r}: it never was, has not finished, has been "
            f"forgotten, or has another cache_salt (name it in the header {SALT_HEADER}). {self.observation.kept()}"
        )

    def newest(self, observer: Observer, limit: int) -> list[tuple[RequestFinished, Reason]]:
        """The last requests that the viewer may see, newest first, each with its reason."""
        found: list[RequestFinished] = []
        for request in observer.recent.newest():
            if self.may_see(request):
                found.append(request)
            if len(found) == limit:
                break
        names = [request.request_id for request in found]
        if self.operator:
            observer.classify(self.observation, CLASSIFIED)
            reasons = [observer.reason(name) for name in names]
        else:
            reasons = observer.reasons_to_owner(names, self.observation, CLASSIFIED)
        return list(zip(found, reasons, strict=True))

    def _explained(self, observer: Observer, request_id: str) -> Explanation:
        if not self.operator:
            return observer.explain_to_owner(request_id, self.observation)
        found = observer.explain(request_id, self.observation)
        return replace(found, reason=found.full_reason, detail=found.elsewhere or found.detail)

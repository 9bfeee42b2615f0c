"""GET /v1/cache/...: why requests hit or missed, which prefixes matter, what more memory would bring, what was saved.

A key sees the requests of its own tenant, within their own namespaces. Figures of all tenants, and what others have to do
with a request, are for operators: the tenants named so in the configuration, or everyone where there are no API keys.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from foreword.errors import NotFoundError, ParameterError
from foreword.events import RequestFinished
from foreword.observe import Counts, Explanation, Observer, Prefix, Reason, TokenPrice, TwinGroup, own_price
from foreword.prompt.prices import PriceTable
from foreword.prompt.volatile import differing_value
from foreword.server.operator.viewer import CLASSIFIED, Viewer
from foreword.serving.observation import Observation
from foreword.tokens import TOKEN_BYTES, unpack_tokens

SHOWN_TOKENS = 160  # of a prefix's text
BEFORE_TOKENS = 32  # of a near-twin's text before the place


Seen = Annotated[Viewer, Depends()]


def make_router() -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/v1/cache", tags=["Cache"])

    @router.get("/explain/{request_id}")
    async def explain(viewer: Seen, request_id: str) -> JSONResponse:
        """Why a finished request hit or missed, to the token; 404 when it is unknown or forgotten."""
        found = await viewer.observation.read(lambda observer: viewer.explanation(observer, request_id))
        place = viewer.placed(found.request_id)
        placed = None if place is None else {**asdict(place), "words": place.words}
        return _json({**found.account.in_tokens(), **_without_account(found), "placed": placed})

    @router.get("/recent")
    async def recent(viewer: Seen, limit: int = 50) -> JSONResponse:
        """The last requests, newest first, each with its sources and its reason."""
        _require(1 <= limit <= 500, "limit", limit, "from 1 to 500")
        found = await viewer.observation.read(lambda observer: _recent(observer, viewer, limit))
        return _json({"requests": found, "kept": viewer.observation.kept()})

    @router.get("/counts")
    async def counts(viewer: Seen) -> JSONResponse:
        """Hits and misses in tokens and requests, by source and reason, since the start."""
        viewer.require_operator()

        fleet = viewer.fleet()
        told = {"now": viewer.observation.now(), "fleet": None if fleet is None else asdict(fleet)}
        return _json({**await viewer.observation.read(lambda observer: _counts(observer, viewer.observation)), **told})

    @router.get("/prefixes")
    async def prefixes(viewer: Seen, limit: int = 150) -> JSONResponse:
        """The prominent prefixes as edges of a tree, parents first, and groups of near-twins."""
        viewer.require_operator()
        _require(1 <= limit <= 2000, "limit", limit, "from 1 to 2000")
        return _json(await viewer.observation.read(lambda observer: _prefixes(observer, viewer.observation, limit)))

    @router.get("/curve")
    async def curve(viewer: Seen) -> JSONResponse:
        """The hit rate that caches from a sixteenth to sixteen times today's size would have had."""
        viewer.require_operator()
        return _json(await _curve(viewer.observation))

    @router.get("/savings")
    async def savings(viewer: Seen, price_per_hour: float | None = None, model: str | None = None) -> JSONResponse:
        """What was saved; in money at ``price_per_hour`` of this machine, or at a hosted ``model``'s prices."""
        viewer.require_operator()
        if price_per_hour is not None:
            _require(0 < price_per_hour < 1e6, "price_per_hour", price_per_hour, "above 0 and below a million")
        price = None if model is None else _hosted_price(model)

        def read(observer: Observer) -> dict[str, Any]:
            found = observer.savings()
            at = own_price(found, price_per_hour) if price_per_hour is not None else price
            return asdict(found if at is None else observer.savings(at))

        return _json(await viewer.observation.read(read))

    return router


def _counts(observer: Observer, seen: Observation) -> dict[str, Any]:
    unclassified = observer.classify(seen, CLASSIFIED)
    found = observer.counts()
    rates = {"hit_rate": found.hit_rate, "unclassified": unclassified}
    return {**found.account.in_tokens(), **_without_account(found), **rates}


async def _curve(seen: Observation) -> dict[str, Any]:
    found = asdict(await seen.read(lambda observer: observer.curve(seen.curve_sizes)))
    return {**found, "today_tokens": seen.cache_tokens, "bytes_per_token": seen.bytes_per_token}


def _recent(observer: Observer, viewer: Viewer, limit: int) -> list[dict[str, Any]]:
    now = viewer.observation.now()
    return [_summary(request, reason, now) for request, reason in viewer.newest(observer, limit)]


def _summary(request: RequestFinished, reason: Reason, now: float) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "tenant": request.tenant,
        "age": now - request.finished,
        "outcome": request.outcome,
        **request.account.in_tokens(),
        "reason": reason,
        "position": request.account.position,
        "first_token_seconds": None if request.first_token is None else request.first_token - request.arrival,
    }


def _prefixes(observer: Observer, seen: Observation, limit: int) -> dict[str, Any]:
    costs = observer.savings().cost_model
    shown = observer.prefixes(limit)
    labels = seen.labels(observer, shown)

    def edge(prefix: Prefix) -> dict[str, Any]:
        return {
            "number": prefix.number,
            "parent": prefix.parent,
            "start": prefix.start,
            "end": prefix.end,
            "requests": prefix.requests,
            "error": prefix.error,
            "hits": prefix.hits,
            "saved_tokens": prefix.saved_tokens,
            "saved_seconds": costs.prefill_seconds(prefix.saved_tokens, prefix.saved_work),
            "memory_bytes": round((prefix.end - prefix.start) * seen.bytes_per_token),
            "tenants": prefix.tenants,
            "age": seen.now() - prefix.last_use,
            "label": labels.get(prefix.number, ""),
            "text": _text(seen, prefix.tokens),
        }

    twins = [_twins(seen, group, observer.edge_of(group)) for group in observer.near_twins() if group.saved_tokens]
    computed = observer.counts().account.computed
    for group in twins:
        group["share_of_prefill"] = group["saved_tokens"] / computed if computed else 0.0
    return {"prefixes": [edge(prefix) for prefix in shown], "near_twins": twins}


def _twins(seen: Observation, group: TwinGroup, prefix: int | None) -> dict[str, Any]:
    before = group.head[-TOKEN_BYTES * BEFORE_TOKENS :]
    texts = [_text(seen, before + value + group.anchor) for value in group.values[:2]]
    differing = differing_value(texts[0], texts[1]) if len(texts) == 2 else None
    return {
        "prefix": prefix,
        "position": group.position,
        "kind": differing[0].kind if differing else "",
        "requests": group.requests,
        "computed_tokens": group.computed_tokens,
        "saved_tokens": group.saved_tokens,
        "saving": group.saving,
        "before": _text(seen, before),
        "values": [_text(seen, value) for value in group.values],
        "after": _text(seen, group.anchor),
    }


def _text(seen: Observation, tokens: bytes) -> str:
    return seen.decode(unpack_tokens(tokens[: TOKEN_BYTES * SHOWN_TOKENS]))


def _hosted_price(model: str) -> TokenPrice:
    row = PriceTable.built_in().find(model)
    if row is None:
        raise NotFoundError(f"There is no price for the model {model!r}; 'foreword prices' shows those that are known.")
    return TokenPrice(row.input, "USD", row.read, row.write, f"{row.name}, {row.date}: {row.source}")


def _without_account(record: Explanation | Counts) -> dict[str, Any]:
    """A record's other fields; its account is told flat."""
    return {name: value for name, value in asdict(record).items() if name != "account"}


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ParameterError(f"{name} is {value}; it must be {allowed}.")


def _json(body: Mapping[str, Any]) -> JSONResponse:
    return JSONResponse(dict(body), headers={"cache-control": "no-store"})

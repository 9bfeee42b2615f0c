"""Counters for Prometheus: Foreword's own names, and the ``vllm:`` names that existing dashboards read.

Everything is counted in tokens, each once, when its request ends; rates are for the reader to make.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from foreword.account import Account, Drafted, Source
from foreword.engine.info import EngineState
from foreword.engine.tier_state import TierState
from foreword.events import DraftLooked
from foreword.observe import BlockLife
from foreword.observe.block_lives import SAMPLED_ONE_IN
from foreword.serving.store_metrics import StoreCollector

FIRST_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
TOKEN_GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5)
BLOCK_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
REQUEST_BUCKETS = (0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 60, 120, 240, 480, 960)

LOG_LINES_DROPPED = ("foreword_log_lines_dropped", "Lines of the log that were dropped because nothing took them.")
CONNECTIONS = ("foreword_connections", "Open connections.")
"""Names and texts of what the server around the metrics counts."""


class Metrics:
    """One registry for one server."""

    def __init__(
        self,
        model_name: str,
        state: Callable[[], EngineState],
        alive: Callable[[], bool],
        tier: Callable[[], TierState | None],
    ):
        self._model = model_name
        self._tier = tier
        self.token_gaps, self.drafts = TokenGaps(), DraftCounts()
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(model_name, state, alive, self.token_gaps, self.drafts))
        self._registry.register(StoreCollector(model_name, tier))
        counter, histogram = self._counter, self._histogram
        self._sources = counter(
            "foreword_prompt_tokens",
            f"Prompt tokens by tenant and source: {', '.join(Source)}.",
            "tenant",
            "source",
        )
        self._recomputed = counter("foreword_recomputed_tokens", "Tokens computed again after a preemption; never hits.")
        self._generated = counter("foreword_output_tokens", "Generated tokens by tenant.", "tenant")
        self._requests = counter("foreword_requests", "Requests that ended, by tenant and outcome.", "tenant", "outcome")
        self._hit_ends = counter("foreword_hit_ends", "Requests by the reason why their hit ended where it did.", "reason")
        self._refused = counter(
            "foreword_refused_requests", "Requests that were answered with an error, by HTTP status.", "status"
        )
        self._queries = counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.")
        self._hits = counter(
            "vllm:prefix_cache_hits", "Prompt tokens of these that were in memory, or shared in flight; stores not counted."
        )
        self._stores_asked = counter(
            "vllm:external_prefix_cache_queries", "Prompt tokens that were not in memory, where there is a store."
        )
        self._stores_hit = counter("vllm:external_prefix_cache_hits", "Prompt tokens of these that came from a store.")
        self._prompt = counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self._cached = counter("vllm:prompt_tokens_cached", "Prompt tokens that were not computed, whatever brought them.")
        self._generation = counter("vllm:generation_tokens", "Generated tokens.")
        self._success = counter("vllm:request_success", "Requests answered, by finish reason.", "finished_reason")
        self._first_token = histogram(
            "vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", FIRST_TOKEN_BUCKETS
        )
        self._duration = histogram(
            "vllm:e2e_request_latency_seconds", "From a request's arrival to its end.", REQUEST_BUCKETS
        )
        sample = f"of one in {SAMPLED_ONE_IN} KV blocks, told when it leaves the cache."
        self._block_lifetime = histogram(
            "vllm:kv_block_lifetime_seconds", f"From when it was stored to its eviction, {sample}", BLOCK_BUCKETS
        )
        self._block_idle = histogram(
            "vllm:kv_block_idle_before_evict_seconds", f"From its last use to its eviction, {sample}", BLOCK_BUCKETS
        )
        self._block_reuse_gap = histogram(
            "vllm:kv_block_reuse_gap_seconds", f"Between its last uses, {sample}", BLOCK_BUCKETS
        )

    def prompt(self, tenant: str, account: Account, looked_up: bool) -> None:
        """A request's prompt, at its end; ``looked_up``: whether it used the cache."""
        for source in Source:
            self._sources.of(tenant, source.value).inc(account.by_source.get(source, 0))
        self._prompt.of().inc(account.processed)
        self._recomputed.of().inc(account.recomputed)
        self._cached.of().inc(account.reused)
        if looked_up:
            self._queries.of().inc(account.processed)
            self._hits.of().inc(account.reused - account.stored)
            if self._tier() is not None:
                self._stores_asked.of().inc(account.computed + account.stored)
                self._stores_hit.of().inc(account.stored)
        if account.miss_reason is not None:
            self._hit_ends.of(account.miss_reason.value).inc()

    def ended(self, tenant: str, outcome: str, answered: bool, output_tokens: int, duration: float) -> None:
        """A request's end. ``outcome``: a finish reason, ``abort`` or ``error``; ``duration`` in seconds."""
        self._requests.of(tenant, outcome).inc()
        self._generated.of(tenant).inc(output_tokens)
        self._generation.of().inc(output_tokens)
        self._duration.observe(duration)
        if answered:
            self._success.of(outcome).inc()

    def first_token(self, seconds: float) -> None:
        """A request's time to first token."""
        self._first_token.observe(seconds)

    def block(self, life: BlockLife) -> None:
        """A sampled block that has left the cache."""
        self._block_lifetime.observe(life.lifetime)
        self._block_idle.observe(life.idle)
        for gap in life.reuse_gaps:
            self._block_reuse_gap.observe(gap)

    def refused(self, status: int) -> None:
        """A request that got an error instead of an answer."""
        self._refused.of(str(status)).inc()

    def watch_counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Export what somebody else counts, read when somebody asks."""
        self._registry.register(_Watched(CounterMetricFamily, self._model, name, text, read))

    def watch_gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Export what somebody else knows the size of, read when somebody asks."""
        self._registry.register(_Watched(GaugeMetricFamily, self._model, name, text, read))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> "_Counters":
        return _Counters(Counter(name, text, ("model_name", *labels), registry=self._registry), self._model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        """Made at once, so that it is exported before the first observation, too."""
        return Histogram(name, text, ("model_name",), buckets=buckets, registry=self._registry).labels(self._model)


class _Counters:
    """The counters of one name, one for each combination of its labels' values: each is looked up once."""

    def __init__(self, family: Counter, model: str):
        self._family = family
        self._model = model
        self._made: dict[tuple[str, ...], Counter] = {}

    def of(self, *values: str) -> Counter:
        """The one with these values of its labels, the model's name left out."""
        made = self._made.get(values)
        if made is None:
            made = self._made[values] = self._family.labels(self._model, *values)
        return made


class TokenGaps:
    """The times between tokens of one answer, in buckets. The engine's thread fills it, a step at a time."""

    def __init__(self) -> None:
        self._counts = [0] * (len(TOKEN_GAP_BUCKETS) + 1)  # of gaps up to each bound, and of those beyond the last
        self._sum = 0.0
        self._last = 0.0

    def step(self, tokens: int, now: float, together: int = 0, gap: float | None = None) -> None:
        """A step has ended that brought ``tokens`` answers the next token, as the step before did; seconds of any clock.

        ``together``: so many more came with these, in the same moment. ``gap``: seconds since the step before, where that
        was not the one that was told of last; None: it was.
        """
        self._counts[0] += together
        if tokens:
            gap = now - self._last if gap is None else gap
            self._counts[bisect_left(TOKEN_GAP_BUCKETS, gap)] += tokens
            self._sum += gap * tokens
        self._last = now

    def family(self, model_name: str) -> Metric:
        """As a histogram."""
        family = HistogramMetricFamily(
            "vllm:inter_token_latency_seconds",
            "Time between two tokens of an answer, each gap once.",
            labels=["model_name"],
        )
        bounds = [*(str(float(bound)) for bound in TOKEN_GAP_BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family.add_metric([model_name], buckets, self._sum)
        return family


class DraftCounts:
    """Drafted tokens, and those that were right: by drafter, and by place in their drafts. The engine's thread adds."""

    def __init__(self) -> None:
        self._by_drafter: dict[str, Drafted] = {}
        self._drafts = 0
        self._right: dict[int, int] = {}  # how many drafts had so many right tokens

    def add(self, draft: DraftLooked) -> None:
        """A draft was computed."""
        counts = self._by_drafter.get(draft.drafter, Drafted()).plus(Drafted(draft.drafted, draft.accepted))
        self._by_drafter = {**self._by_drafter, draft.drafter: counts}  # exchanged whole, for whoever is reading
        self._right = {**self._right, draft.accepted: self._right.get(draft.accepted, 0) + 1}
        self._drafts += 1

    def families(self, model: str) -> Iterator[Metric]:
        """Foreword's own counters, then those that dashboards of vLLM read."""
        counts, right = self._by_drafter, self._right
        drafted, accepted = (
            CounterMetricFamily(f"foreword_{name}_tokens", text, labels=["model_name", "drafter"])
            for name, text in (
                ("drafted", "Drafted tokens by drafter."),
                ("accepted_draft", "Drafted tokens that were right, by drafter."),
            )
        )
        for name, each in counts.items():
            drafted.add_metric([model, name], each.drafted)
            accepted.add_metric([model, name], each.accepted)
        yield from (drafted, accepted)
        sums = {
            "drafts": ("Drafts that were computed.", self._drafts),
            "draft_tokens": ("Drafted tokens.", sum(each.drafted for each in counts.values())),
            "accepted_tokens": ("Drafted tokens that were right.", sum(each.accepted for each in counts.values())),
        }
        for name, (text, value) in sums.items():
            family = CounterMetricFamily(f"vllm:spec_decode_num_{name}", text, labels=["model_name"])
            family.add_metric([model], value)
            yield family
        places = CounterMetricFamily(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens that were right, by place in their draft.",
            labels=["model_name", "position"],
        )
        for place in range(max(right, default=0)):
            places.add_metric([model, str(place)], sum(count for length, count in right.items() if length > place))
        yield places


class _Watched(Collector):
    """One figure of somebody else's."""

    def __init__(
        self,
        kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
        model: str,
        name: str,
        text: str,
        read: Callable[[], float],
    ):
        self._kind, self._model, self._name, self._text, self._read = kind, model, name, text, read

    def collect(self) -> Iterator[Metric]:
        family = self._kind(self._name, self._text, labels=["model_name"])
        family.add_metric([self._model], self._read())
        yield family


class _EngineCollector(Collector):
    """What the engine counts itself, read when somebody asks."""

    def __init__(
        self,
        model_name: str,
        state: Callable[[], EngineState],
        alive: Callable[[], bool],
        token_gaps: TokenGaps,
        drafts: DraftCounts,
    ):
        self._model, self._state, self._alive, self._token_gaps = model_name, state, alive, token_gaps
        self._drafts = drafts

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        usage = state.usage
        total = max(1, usage.total_blocks)
        yield self._gauge("foreword_engine_up", "1 while the engine takes requests.", float(self._alive()))
        blocks = GaugeMetricFamily("foreword_kv_blocks", "KV blocks by state.", labels=["model_name", "state"])
        for name, count in (("free", usage.free_blocks), ("evictable", usage.evictable_blocks), ("held", usage.held_blocks)):
            blocks.add_metric([self._model, name], count)
        yield blocks
        yield self._counter("foreword_evicted_tokens", "Cached tokens that had to make room.", usage.evicted_tokens)
        yield self._gauge("vllm:num_requests_running", "Sequences that run.", state.running)
        yield self._gauge("vllm:num_requests_waiting", "Sequences that wait.", state.waiting)
        yield self._counter("vllm:num_preemptions", "Sequences that had to make room and start again.", state.preemptions)
        used = usage.held_blocks / total
        yield self._gauge("vllm:kv_cache_usage_perc", "Share of the KV blocks that running requests hold, 0 to 1.", used)
        yield self._token_gaps.family(self._model)
        yield from self._drafts.families(self._model)
        faults = "How often a drafter raised, or proposed what is no token."
        yield self._counter("foreword_draft_faults", faults, state.draft_faults)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["model_name"])
        family.add_metric([self._model], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(name, text, labels=["model_name"])
        family.add_metric([self._model], value)
        return family

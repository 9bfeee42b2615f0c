"""Figures of the stores below an engine's memory for Prometheus, read when somebody asks; none where there is no store."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foreword.account import MissReason
from foreword.engine.tier_state import StoreState, TierState

LOST = (MissReason.STORED_CORRUPT, MissReason.STORED_OTHER_IDENTITY, MissReason.LOAD_FAILED, MissReason.LOAD_SLOWER)
Read = Callable[[StoreState], float | None]
COUNTERS: dict[str, tuple[str, Read]] = {
    "foreword_store_loaded_blocks": ("Blocks that came from a store.", lambda store: store.loaded_blocks),
    "foreword_store_loaded_bytes": ("Bytes of KV that came from a store.", lambda store: store.loaded_bytes),
    "foreword_store_written_bytes": ("Bytes written to a store by this server.", lambda store: store.usage.written_bytes),
    "foreword_store_copied_bytes": (
        "Bytes written once more, to make room: write amplification is 1 + these over the written ones.",
        lambda store: store.usage.copied_bytes,
    ),
    "foreword_store_refused_blocks": (
        "Blocks that were not taken for lack of room, or because the day's budget was used up.",
        lambda store: store.usage.refused,
    ),
    "foreword_store_failures": ("How often a store failed, or was too slow.", lambda store: store.usage.failures),
}
GAUGES: dict[str, tuple[str, Read]] = {
    "foreword_store_blocks": ("Blocks that a store holds.", lambda store: store.usage.blocks),
    "foreword_store_used_bytes": ("Bytes that a store takes.", lambda store: store.usage.used_bytes),
    "foreword_store_max_bytes": ("Bytes that a store may take.", lambda store: store.usage.max_bytes),
    "foreword_store_written_today_bytes": (
        "Bytes written since midnight UTC by all that share the store.",
        lambda store: store.usage.written_today,
    ),
    "foreword_store_daily_bytes": ("Bytes that may be written in a day.", lambda store: store.usage.daily_bytes),
    "foreword_store_set_aside": ("Packs that were set aside as damaged.", lambda store: store.usage.set_aside),
    "foreword_store_left_alone": (
        "1 while a store is left alone for a time because it failed.",
        lambda store: store.usage.left_alone,
    ),
}
"""By name: what it is, and the figure of one store; None: the store cannot say."""


class StoreCollector(Collector):
    """The stores' figures, with a label ``store`` that has the names of account's sources."""

    def __init__(self, model_name: str, tier: Callable[[], TierState | None]):
        self._model, self._tier = model_name, tier

    def collect(self) -> Iterator[Metric]:
        """All families, or none."""
        tier = self._tier()
        if tier is None:
            return
        for name, (text, read) in COUNTERS.items():
            yield self._filled(CounterMetricFamily(name, text, labels=["model_name", "store"]), tier.stores, read)
        for name, (text, read) in GAUGES.items():
            yield self._filled(GaugeMetricFamily(name, text, labels=["model_name", "store"]), tier.stores, read)
        lost = CounterMetricFamily(
            "foreword_store_lost_loads",
            "Loads that ended before all had come, by the reason.",
            labels=["model_name", "store", "reason"],
        )
        for store in tier.stores:
            for reason in LOST:
                lost.add_metric([self._model, store.source.value, reason.value], store.lost_loads.get(reason, 0))
        yield lost
        queued = GaugeMetricFamily("foreword_store_queued_blocks", "Blocks that wait to be stored.", labels=["model_name"])
        queued.add_metric([self._model], tier.queued_blocks)
        yield queued
        dropped = CounterMetricFamily(
            "foreword_store_dropped_blocks",
            "Blocks that found no place in the queue; they are given again when they are used again.",
            labels=["model_name"],
        )
        dropped.add_metric([self._model], tier.dropped_blocks)
        yield dropped

    def _filled(self, family: Metric, stores: Iterable[StoreState], read: Read) -> Metric:
        for store in stores:
            value = read(store)
            if value is not None:
                family.add_metric([self._model, store.source.value], float(value))  # type: ignore[attr-defined]
        return family

"""The page of the metrics."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from foreword.account import Account, HitEnd, MissReason, Source
from foreword.cache import Usage
from foreword.cli.reference.tables import table
from foreword.engine.info import EngineState
from foreword.engine.tier_state import StoreState, TierState
from foreword.events import DraftLooked
from foreword.serving.metrics import CONNECTIONS, LOG_LINES_DROPPED, Metrics
from foreword.tiers.base import StoreUsage

HEAD = """\
<!-- Written by `make reference` from the metrics of a server that was asked once; a test compares it. Change those. -->
# Metrics

`/metrics` in Prometheus' text format; with an operator's key where there are keys. Everything is counted in tokens, each
once, when its request ends; rates are for the reader to make. Every metric has the label `model_name`; a histogram has
series that end in `_bucket` (with the label `le`), `_count` and `_sum`; where a name ends in `_created` it is the time since
which is counted. Names that begin with `vllm:` are those that dashboards of vLLM read. What to look at first:
[why a request hit or missed](../how-to/observe.md), [stores](../how-to/stores.md#what-is-counted), and the dashboard for
Grafana in `deploy/grafana/foreword.json`.

"""
PARTS = (
    (
        "foreword_store",
        "Foreword's own, of stores",
        "Only where there is a store; of a figure that a store cannot tell there is none.\n\n",
    ),
    ("foreword", "Foreword's own", ""),
    ("vllm", "Under vLLM's names", ""),
)
"""What names begin with, the part's title, and what is said first."""


def metrics_page() -> str:
    """docs/reference/metrics.md: every metric with its type, its labels and what it is."""
    rows: dict[str, list[tuple[str, str, str, str]]] = {title: [] for _, title, _ in PARTS}
    for row in sorted(_families(_asked_once())):
        title = next(title for begin, title, _ in PARTS if row[0].startswith(f"`{begin}"))
        rows[title].append(row)
    parts = [HEAD]
    for _, title, first in (PARTS[1], PARTS[0], PARTS[2]):
        parts.append(f"## {title}\n\n{first}{table(('metric', 'type', 'labels', 'what it is'), rows[title])}\n")
    return "".join(parts).rstrip() + "\n"


def _families(metrics: Metrics) -> Iterator[tuple[str, str, str, str]]:
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name.endswith("_created"):
            continue
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"model_name", "le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"`{name}`", family.type, ", ".join(f"`{label}`" for label in labels), family.documentation


def _asked_once() -> Metrics:
    """Metrics in which every label has a value."""
    usage = StoreUsage(blocks=1, used_bytes=1, max_bytes=1, written_today=1, daily_bytes=1)
    store = StoreState(Source.STORED_LOCAL, usage, 1, 1, {})
    state = EngineState(0, 0, 0, Usage(1, 1, 0, 0, 0, 0))
    metrics = Metrics("model", lambda: state, lambda: True, lambda: TierState((store,), 0, 0))
    metrics.watch_counter(*LOG_LINES_DROPPED, lambda: 0)
    metrics.watch_gauge(*CONNECTIONS, lambda: 0)
    metrics.drafts.add(DraftLooked("request", "tree", 0, 1, 1))
    metrics.prompt("tenant", Account(1, {Source.COMPUTED: 1}, hit_end=HitEnd(MissReason.FIRST_SEEN, 0)), looked_up=True)
    metrics.ended("tenant", "stop", True, 1, 1.0)
    metrics.refused(429)
    return metrics

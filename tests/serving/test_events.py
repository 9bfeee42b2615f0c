"""What the metrics make of events."""

from prometheus_client.parser import text_string_to_metric_families

from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, StepFinished
from foreword.serving.events import EventMetrics
from foreword.serving.metrics import Metrics
from foreword.tokens import pack_tokens
from serving.fake_front import FakeFront


def test_steps_tell_times_and_blocks_their_lives() -> None:
    front = FakeFront()
    metrics = Metrics("fake", lambda: front.state, lambda: True, lambda: front.tier_state)
    sink = EventMetrics(front.info, front.now, metrics)
    tokens = pack_tokens(range(4))
    events: list[Event] = [StepFinished(0.1, ((0, 4),), 0), StepFinished(0.1, (), 2), AllBlocksCleared()]
    for _ in range(101):  # of which one block is sampled
        events += [BlockStored(b"", 0, tokens, (7,)), BlockRemoved(b"", 0, 4, (7,))]
    for event in events:
        sink(event)
        front.clock += 0.5
    found = text_string_to_metric_families(metrics.exposition().decode())
    samples = {sample.name: sample.value for family in found for sample in family.samples}
    assert (samples["vllm:inter_token_latency_seconds_count"], samples["vllm:inter_token_latency_seconds_sum"]) == (2, 1.0)
    assert (samples["vllm:kv_block_lifetime_seconds_count"], samples["vllm:kv_block_lifetime_seconds_sum"]) == (1, 0.5)

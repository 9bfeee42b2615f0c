"""What the metrics make of events."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from foreword.events import AllBlocksCleared, BlockRemoved, BlockStored, DraftLooked, Event, StepFinished
from foreword.serving.events import EventMetrics
from foreword.serving.metrics import Metrics
from foreword.tokens import pack_tokens
from serving.fake_front import FakeFront


def test_steps_tell_times_and_blocks_their_lives() -> None:
    front = FakeFront()
    front.state = replace(front.state, draft_faults=3)
    metrics = Metrics("fake", lambda: front.state, lambda: True, lambda: front.tier_state)
    sink = EventMetrics(front.info, front.now, metrics)
    tokens = pack_tokens(range(4))
    drafts = (DraftLooked("a", "tree", 5, 4, 3), DraftLooked("b", "form", 9, 2, 2), DraftLooked("c", "tree", 7, 1, 0))
    events: list[Event] = [StepFinished(0.1, ((0, 4),), 0), StepFinished(0.1, (), 2, drafts), AllBlocksCleared()]
    for _ in range(101):  # of which one block is sampled
        events += [BlockStored(b"", 0, tokens, (7,)), BlockRemoved(b"", 0, 4, (7,))]
    for event in events:
        sink(event)
        front.clock += 0.5
    found = text_string_to_metric_families(metrics.exposition().decode())
    every = [sample for family in found for sample in family.samples]
    samples = {sample.name: sample.value for sample in every}
    labelled = {(sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value for sample in every}
    assert (samples["vllm:inter_token_latency_seconds_count"], samples["vllm:inter_token_latency_seconds_sum"]) == (7, 1.0)
    assert (samples["vllm:kv_block_lifetime_seconds_count"], samples["vllm:kv_block_lifetime_seconds_sum"]) == (1, 0.5)
    assert labelled["foreword_drafted_tokens_total", "tree", "fake"] == 5
    assert labelled["foreword_accepted_draft_tokens_total", "tree", "fake"] == 3
    assert labelled["foreword_accepted_draft_tokens_total", "form", "fake"] == 2
    names = ("drafts", "draft_tokens", "accepted_tokens")
    assert [samples[f"vllm:spec_decode_num_{name}_total"] for name in names] == [3, 7, 5]
    places = [labelled["vllm:spec_decode_num_accepted_tokens_per_pos_total", "fake", place] for place in "012"]
    assert places == [2, 2, 1]
    assert samples["foreword_draft_faults_total"] == 3

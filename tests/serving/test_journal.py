"""What is noted at an end: counts, a line, and the prompt for those who compare."""

import io
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foreword.account import Account, HitEnd, MissReason, Source
from foreword.engine.stream import RequestEnd
from foreword.errors import StepFailed
from foreword.observe import ObserverConfig
from foreword.outputs import RequestMetrics
from foreword.serving.config import ServerConfig
from foreword.serving.journal import Journal
from foreword.serving.log import make_log
from foreword.serving.metrics import Metrics
from foreword.serving.neutral import CacheSettings, Changed, TokenUsage
from foreword.serving.observation import Observation
from foreword.serving.rendering import PromptRenderer, RenderedPrompt
from foreword.serving.stream import OpenRequest
from foreword.tokens import pack_tokens
from serving.fake_front import FakeFront, lines, neutral, words

ACCOUNT = Account(4, {Source.CACHED: 3, Source.COMPUTED: 1}, hit_end=HitEnd(MissReason.COMPLETE, 3))
TIMES = RequestMetrics(0.1, 0.5, None, 0)


class Desk:
    """A journal, and where it writes to."""

    def __init__(self, **options: object):
        self.front, self.log = FakeFront(), io.StringIO()
        self.metrics = Metrics("fake", lambda: self.front.state, lambda: True, lambda: self.front.tier_state)
        observation = Observation(self.front.info, self.front.now, PromptRenderer(words(), "fake"), ObserverConfig())
        config = ServerConfig(**options)  # type: ignore[arg-type]
        self.journal = Journal(self.front.now, "fake", self.metrics, make_log(self.log), observation, config)

    def end(self, end: RequestEnd, uses_cache: bool = True, name: str = "r") -> None:
        """A request of two seconds."""
        one = opened(name, uses_cache)
        self.front.clock = 2.0
        self.journal.ended(one, end)

    def count(self, name: str, **labels: str) -> float:
        found = text_string_to_metric_families(self.metrics.exposition().decode())
        samples = [sample for family in found for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def opened(
    name: str = "r", uses_cache: bool = True, compare: str | None = None, tokens: tuple[int, ...] = (1, 2, 3, 4)
) -> OpenRequest:
    request = neutral(tokens, name, cache=CacheSettings(compare_with=compare))
    return OpenRequest(request, RenderedPrompt(pack_tokens(tokens), "the text"), 0.0, 60.0, uses_cache)


def test_an_answer_is_counted_and_written() -> None:
    desk = Desk()
    desk.end(RequestEnd("stop", 5, ACCOUNT, TIMES, None))
    (line,) = lines(desk.log)
    told = {
        name: line[name]
        for name in ("event", "request_id", "model", "tenant", "outcome", "cached", "computed", "miss_reason")
    }
    assert list(told.values()) == ["request", "r", "fake", "alice", "stop", 3, 1, "complete"]
    assert (line["output_tokens"], line["seconds"], line["level"]) == (5, 2.0, "info")
    assert "the text" not in desk.log.getvalue()
    assert desk.count("foreword_prompt_tokens_total", source="cached", tenant="alice") == 3
    assert desk.count("vllm:prefix_cache_queries_total") == 4
    assert desk.count("foreword_requests_total", outcome="stop") == 1
    assert desk.count("vllm:request_success_total") == 1
    assert desk.count("vllm:time_to_first_token_seconds_sum") == 0.5
    assert desk.count("vllm:e2e_request_latency_seconds_sum") == 2.0


def test_who_does_not_use_the_cache_does_not_ask_it() -> None:
    desk = Desk()
    desk.end(RequestEnd("stop", 5, ACCOUNT, TIMES, None), uses_cache=False)
    assert desk.count("vllm:prefix_cache_queries_total") == 0
    assert desk.count("vllm:prompt_tokens_total") == 4


@pytest.mark.parametrize(("outcome", "level"), [("abort", "info"), ("error", "error")])
def test_what_was_not_answered_is_counted_but_not_as_a_success(outcome: str, level: str) -> None:
    desk = Desk()
    desk.end(RequestEnd(outcome, 2, ACCOUNT, replace(TIMES, first_token_time=None), StepFailed("planted")))
    (line,) = lines(desk.log)
    assert (line["outcome"], line["level"], line.get("error")) == (outcome, level, "planted" if outcome == "error" else None)
    assert desk.count("foreword_requests_total", outcome=outcome) == 1
    assert desk.count("vllm:request_success_total") == 0
    assert desk.count("vllm:time_to_first_token_seconds_count") == 0
    assert desk.count("foreword_output_tokens_total") == 2


def test_the_end_of_a_request_that_a_dead_engine_held_is_noted_without_an_account() -> None:
    desk = Desk()
    desk.end(RequestEnd("error", 0, None, None, StepFailed("planted")))
    (line,) = lines(desk.log)
    assert "prompt_tokens" not in line
    assert desk.count("foreword_prompt_tokens_total") == 0


def test_texts_are_logged_where_they_may_be() -> None:
    desk = Desk(log_prompts=True)
    desk.end(RequestEnd("stop", 5, ACCOUNT, TIMES, None))
    assert lines(desk.log)[0]["prompt"] == "the text"


def test_an_answered_request_can_be_compared_with_and_no_other() -> None:
    desk, usage = Desk(remembered_answers=2), TokenUsage(ACCOUNT, 0)
    assert desk.journal.diagnose(opened("b"), usage) is None, "not asked"
    desk.end(RequestEnd("stop", 5, ACCOUNT, TIMES, None), name="a")
    desk.end(RequestEnd("error", 5, ACCOUNT, TIMES, StepFailed("planted")), name="failed")
    compared = [desk.journal.diagnose(opened("b", compare=name), usage) for name in ("a", "failed")]
    assert [found.changed for found in compared if found] == [Changed.NOTHING, Changed.NOT_FOUND]
    for name in ("b", "c"):
        desk.end(RequestEnd("stop", 5, ACCOUNT, TIMES, None), name=name)
    forgotten = desk.journal.diagnose(opened("d", compare="a"), usage)
    assert forgotten is not None
    assert forgotten.changed is Changed.NOT_FOUND

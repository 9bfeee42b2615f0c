"""What is computed with a NaN goes with its request: a runner that says which rows are no numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from foreword.cache import CacheConfig, CopyBlock, ModelFingerprint, PrefixCache
from foreword.engine import Engine, EngineInfo, EngineRequest, SamplingParams
from foreword.engine.model_text import ModelText
from foreword.engine.runner import Sampled, SampledToken, Step, StepChunk, in_turn
from foreword.errors import StepFailed
from foreword.outputs import RequestOutput
from foreword.prompt.tokenizer import HubTokenizer
from foreword.sched import Scheduler, SchedulerConfig
from foreword.tokens import pack_tokens


@dataclass
class Runner:
    """The next token is the count of the tokens before it; ``breaks`` says of a chunk whether it is no number."""

    breaks: Callable[[StepChunk], bool] = lambda _: False

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        pass

    def run(self, step: Step) -> list[Sampled]:
        return [
            Sampled(broken=True)
            if self.breaks(chunk)
            else Sampled(in_turn(chunk, lambda chunk: SampledToken(chunk.end % 50)))
            for chunk in step.chunks
        ]


def make(runner: Runner, budget: int = 64) -> Engine:
    cache = PrefixCache(CacheConfig(num_blocks=60, block_size=4))
    info = EngineInfo("none", 200, 50, 60, 4, 1.0, 8, True, frozenset(), ModelFingerprint("none"))
    scheduler = Scheduler(SchedulerConfig(max_num_seqs=8, max_num_batched_tokens=budget), cache)
    text = ModelText(HubTokenizer(Tokenizer(WordLevel({"a": 0}, unk_token="a"))))
    return Engine(scheduler, runner, info, text)


def add(engine: Engine, name: str, ids: Sequence[int], max_tokens: int = 3, n: int = 1) -> Callable[[], RequestOutput]:
    params = SamplingParams(max_tokens=max_tokens, n=n)
    return engine.add_request(EngineRequest(pack_tokens(list(ids)), params, request_id=name)).output


def finish(engine: Engine) -> None:
    for _ in range(100):
        if not engine.has_unfinished_requests():
            engine.check_integrity()
            assert engine.usage().held_blocks == 0
            return
        engine.step()
    raise AssertionError("it does not end")


def cached(engine: Engine, ids: Sequence[int]) -> int:
    output = add(engine, "looks", ids, 1)
    finish(engine)
    account = output().account
    assert account is not None
    return account.reused


def test_nothing_of_a_broken_request_is_reused_and_its_neighbours_go_on() -> None:
    runner = Runner(lambda chunk: chunk.request_id == "bad" and chunk.end > 21)
    engine = make(runner)
    bad, good = add(engine, "bad", range(20)), add(engine, "good", range(20, 40))
    finish(engine)
    assert isinstance(bad().error, StepFailed)
    assert "not numbers" in str(bad().error)
    assert good().outputs[0].token_ids == [20, 21, 22]
    runner.breaks = lambda _: False
    assert cached(engine, range(20)) == 0, "neither the prompt nor what was said of it"
    assert cached(engine, range(20, 40)) == 19


def test_chunks_before_the_broken_one_go_too_but_not_what_was_there_before() -> None:
    runner = Runner()
    engine = make(runner, budget=8)
    assert cached(engine, range(12)) == 0
    runner.breaks = lambda chunk: chunk.end == 40
    bad = add(engine, "bad", range(40))
    finish(engine)
    assert isinstance(bad().error, StepFailed)
    runner.breaks = lambda _: False
    assert cached(engine, range(40)) == 12


def test_a_broken_chunk_in_the_middle_ends_its_request_and_so_does_one_that_samples_nothing() -> None:
    runner = Runner(lambda chunk: chunk.start == 8)
    engine = make(runner, budget=8)
    for max_tokens in (3, 0):
        bad = add(engine, f"bad-{max_tokens}", range(30), max_tokens)
        finish(engine)
        assert isinstance(bad().error, StepFailed)
    runner.breaks = lambda _: False
    assert cached(engine, range(30)) == 0


def test_who_reads_it_in_the_same_step_or_later_computes_it_again() -> None:
    for others in (range(2), range(1)):
        runner = Runner(lambda chunk: chunk.request_id == "bad" and chunk.end > 30)
        engine = make(runner)
        bad = add(engine, "bad", [*range(29), 1], 9)
        engine.step()
        readers = [add(engine, f"reader-{number}", [*range(24), 5, number], 4) for number in others]
        finish(engine)
        assert isinstance(bad().error, StepFailed)
        for number, reader in enumerate(readers):
            assert reader().outputs[0].token_ids == [26, 27, 28, 29], number
            assert reader().error is None
        runner.breaks = lambda _: False
        assert cached(engine, [*range(24), 5, 0]) == 25, "what was computed again is kept"


def test_shared_in_flight_in_one_step() -> None:
    runner = Runner(lambda chunk: chunk.request_id == "bad")
    engine = make(runner)
    bad = add(engine, "bad", range(30), 2)
    reader = add(engine, "reader", [*range(30), 7, 7], 2)
    finish(engine)
    assert isinstance(bad().error, StepFailed)
    assert reader().outputs[0].token_ids == [32, 33]
    assert cached(engine, [*range(30), 7, 7]) == 31


def test_all_continuations_end_with_the_broken_one() -> None:
    runner = Runner(lambda chunk: chunk.request_id == "bad/1")
    engine = make(runner)
    bad = add(engine, "bad", range(30), 5, n=3)
    finish(engine)
    assert isinstance(bad().error, StepFailed)

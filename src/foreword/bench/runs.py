"""Workloads run on an engine, several times in turn, and their figures beside the bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from foreword.backends.base import Backend
from foreword.bench.bounds import ModelWork, ideal_rounds
from foreword.bench.machine import Limits, measure_limits, watching_others
from foreword.bench.workloads import WORKLOADS, Answer, Ask, Round, Workload
from foreword.engine.build import EngineParts
from foreword.engine.engine import Engine
from foreword.engine.request import EngineRequest
from foreword.sampling_params import SamplingParams
from foreword.tokens import pack_tokens

WARM_UP_SCALE = 1 / 32
SPOILT = 0.05
"""Cores in use by other programs from which on a figure is not to be trusted."""


@dataclass(frozen=True)
class Figure:
    """A measured figure over the repetitions, and what the machine's bounds allow; None where there is no bound."""

    name: str
    unit: str
    median: float
    least: float
    most: float
    bound: float | None

    @property
    def share_of_bound(self) -> float | None:
        """1 is at the bound."""
        if self.bound is None:
            return None
        return self.bound / self.median if self.unit == "s" else self.median / self.bound


@dataclass(frozen=True)
class Result:
    """A workload's figures; tokens of one repetition, and the worst load by other programs, in cores."""

    workload: Workload
    figures: tuple[Figure, ...]
    prompt_tokens: int
    cached_tokens: int
    repetitions: int
    other_cores: float
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that were computed."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def spoilt(self) -> bool:
        """Whether other programs took so much of the machine that the figures say little."""
        return self.other_cores > SPOILT

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "workload": self.workload.name,
            "sizes": vars(self.workload.sizes),
            "repetitions": self.repetitions,
            "other_cores": self.other_cores,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "computed_tokens": self.computed_tokens,
            "generated_tokens": self.generated_tokens,
            "drafted_tokens": self.drafted_tokens,
            "accepted_tokens": self.accepted_tokens,
            "figures": [{**vars(figure), "share_of_bound": figure.share_of_bound} for figure in self.figures],
        }


def repeat_workloads(
    parts: EngineParts,
    engine: Engine,
    workloads: Sequence[Workload],
    repetitions: int,
    answered: Callable[[str], None],
    measure: Callable[[Backend[Any]], Limits] = measure_limits,
) -> tuple[list[Result], Limits]:
    """Run the workloads on an engine of these parts in turn, ``repetitions`` times, after a warm-up that is not counted.

    Every repetition has its own tokens, so it starts cold. ``measure`` finds the machine's limits before each round of all
    workloads; the best count. ``answered`` is called with a workload's name whenever a request of it has ended.
    """
    vocab = engine.info.vocab_size
    warm_up = WORKLOADS["crowd"].fitted(WARM_UP_SCALE, engine.info.max_model_len)
    warm_up.run("warm-up", vocab, partial(run_batch, engine, lambda: None))
    runs: dict[str, list[list[Round]]] = {workload.name: [] for workload in workloads}
    others: dict[str, list[float]] = {workload.name: [] for workload in workloads}
    limits: Limits | None = None
    for number in range(repetitions):
        measured = measure(parts.runner.backend)
        limits = measured if limits is None else limits.best(measured)
        for workload in workloads:
            load: dict[str, float] = {}
            with watching_others(load):
                rounds = workload.run(str(number), vocab, partial(run_batch, engine, partial(answered, workload.name)))
            runs[workload.name].append(rounds)
            others[workload.name].append(load["other_cores"])
    assert limits is not None
    work, sharing = ModelWork.of(parts.model, parts.runner.backend), engine.info.prefix_caching
    results = [
        _result(workload, runs[workload.name], max(others[workload.name]), work, limits, sharing) for workload in workloads
    ]
    return results, limits


def run_batch(engine: Engine, answered: Callable[[], None], asks: list[Ask]) -> list[Answer]:
    """Send a batch, run it to its end, with an output after every token as a server gives it.

    ``answered`` is called whenever a request has ended.
    """
    start, ids = engine.clock(), []
    ended: dict[str, Answer] = {}
    for ask in asks:
        params = SamplingParams(temperature=0.0, max_tokens=ask.n_out, ignore_eos=True)
        ids.append(engine.add_request(EngineRequest(pack_tokens(ask.prompt), params)).request_id)
    while engine.has_unfinished_requests():
        for generation in engine.step().news:
            if generation.error is not None:
                raise generation.error
            if generation.finished:
                output = generation.output()
                metrics = output.metrics
                assert metrics.first_token_time is not None and metrics.finished_time is not None
                ended[output.request_id] = Answer(
                    output.outputs[0].token_ids,
                    output.num_cached_tokens,
                    metrics.first_token_time - start,
                    metrics.finished_time - start,
                    output.account.drafted,
                    output.account.accepted,
                )
                answered()
    return [ended[request_id] for request_id in ids]


def _result(
    workload: Workload, runs: list[list[Round]], other_cores: float, work: ModelWork, limits: Limits, sharing: bool
) -> Result:
    ideal = [ideal_rounds(work, limits, rounds, sharing) for rounds in runs]
    figures = []
    for measure in workload.measures:
        values = [measure.read(rounds) for rounds in runs]
        bound = median(measure.read(rounds) for rounds in ideal) if measure.bounded else None
        figures.append(Figure(measure.name, measure.unit, median(values), min(values), max(values), bound))
    return Result(
        workload=workload,
        figures=tuple(figures),
        prompt_tokens=sum(len(ask.prompt) for each in runs[0] for ask in each.asks),
        cached_tokens=sum(answer.cached for each in runs[0] for answer in each.answers),
        repetitions=len(runs),
        other_cores=other_cores,
        generated_tokens=sum(each.generated for each in runs[0]),
        drafted_tokens=sum(answer.drafted for each in runs[0] for answer in each.answers),
        accepted_tokens=sum(answer.accepted for each in runs[0] for answer in each.answers),
    )

"""Costs: what a step is predicted to take, and where the figures come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foreword.engine.runner import Step
from foreword.errors import ParameterError
from foreword.observe.savings import CostModel, span_work
from foreword.sched import StepPlan


@dataclass(frozen=True, slots=True)
class Costs:
    """A cost model (``foreword.observe.savings``) and its ``origin`` in words."""

    model: CostModel
    origin: str

    def step_seconds(self, step: Step) -> float:
        """What a step takes: prompt tokens by number and work, and those of who generates: one each, and drafts."""
        tokens = work = generating = 0
        for chunk in step.chunks:
            end = min(chunk.end, chunk.num_prompt_tokens)
            if chunk.start < end:
                tokens += end - chunk.start
                work += span_work(chunk.start, end)
            else:
                generating += chunk.end - chunk.start
        return self.model.per_step + self.model.prefill_seconds(tokens, work) + self.model.per_generating * generating

    def plan_seconds(self, plan: StepPlan, scale: int = 1) -> float:
        """What a step takes whose tokens stand for ``scale`` each: as many steps, where it only generates."""
        tokens = work = generating = 0
        for chunk in plan.chunks:
            if chunk.end > chunk.request.num_prompt_tokens:
                generating += 1
            else:
                tokens += chunk.end - chunk.start
                work += span_work(chunk.start, chunk.end)
        steps = 1 if tokens else scale
        prefill = self.model.prefill_seconds(tokens * scale, work * scale * scale)
        return self.model.per_step * steps + prefill + self.model.per_generating * generating * scale

    def alone_seconds(self, start: int, end: int, step_tokens: int) -> float:
        """What the prompt tokens [start, end) take on an idle machine, in steps of ``step_tokens``."""
        steps = max(1, -(-(end - start) // step_tokens))
        return self.model.per_step * steps + self.model.prefill_seconds(end - start, span_work(start, end))


MEASURED = Costs(
    CostModel(per_step=0.033, per_token=2.95e-3, per_pair=7.2e-7, per_generating=2.6e-3, observations=0),
    "a random Llama of 0.22 B parameters in float32 on two cores (the page of figures: TTFT over the length, decode steps)",
)
"""Fitted by hand to docs/explanation/figures.md: cold TTFT of 1,024 to 4,096 tokens, decode at batch 1 and 8."""


def costs_from_rates(prefill_rate: float, decode_milliseconds: float) -> Costs:
    """From prompt tokens a second, and the milliseconds of a step that generates one token for everyone."""
    for name, value in (("prefill_rate", prefill_rate), ("decode_milliseconds", decode_milliseconds)):
        if not 0 < value < float("inf"):
            raise ParameterError(f"{name} is {value:g}; it must be more than 0.")
    model = CostModel(decode_milliseconds / 1000, 1 / prefill_rate, 0.0, 0.0, 0)
    return Costs(model, f"{prefill_rate:g} prompt tokens a second, {decode_milliseconds:g} ms a step beside")


def costs_from_report(report: Mapping[str, Any], name: str) -> Costs:
    """From what ``foreword bench --json`` wrote into a file of this name: a fit of the steps that it measured."""
    found = report.get("cost_model")
    names = ("per_step", "per_token", "per_pair", "per_generating", "observations")
    values = [found.get(each) for each in names] if isinstance(found, Mapping) else [None]
    if not all(isinstance(value, int | float) and 0 <= value < float("inf") for value in values) or not any(values):
        raise ParameterError(
            f"{name} has no 'cost_model' with {', '.join(names)}: it must be what 'foreword bench --json FILE' writes."
        )
    return Costs(CostModel(*values), f"{values[-1]} steps measured by foreword bench on {report.get('model')} ({name})")

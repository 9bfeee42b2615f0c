"""The loop of a scheduler alone: schedule → commit → a token for whoever samples. No engine, no runner."""

from collections.abc import Callable

from foreword.sched import Request, Scheduler, StepPlan


def run_step(scheduler: Scheduler, now: float, sample: Callable[[Request], int]) -> tuple[StepPlan, list[Request]]:
    """One step as if it had been computed; ``sample`` gives a request's next token.

    Returns the plan, and the requests whose last token it was: they still hold their blocks, and are to be finished.
    """
    plan = scheduler.schedule(now)
    return plan, end_step(scheduler, plan, sample)


def end_step(scheduler: Scheduler, plan: StepPlan, sample: Callable[[Request], int]) -> list[Request]:
    """What was scheduled has been computed. Returns the requests whose last token it was; they still hold their blocks."""
    scheduler.commit(plan)
    sampling = [chunk.request for chunk in plan.chunks if chunk.samples]
    for request in sampling:
        request.append(sample(request))
    return [request for request in sampling if request.num_tokens == request.limit]

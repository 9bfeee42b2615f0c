"""Scheduling: pure, on top of the cache. Its names are imported when first used."""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.sched.config import SchedulerConfig
    from foreword.sched.request import Request, RequestState
    from foreword.sched.scheduler import ScheduledChunk, Scheduler, StepPlan

__all__ = [
    "Request",
    "RequestState",
    "ScheduledChunk",
    "Scheduler",
    "SchedulerConfig",
    "StepPlan",
]
_HOMES = {
    "SchedulerConfig": "sched.config",
    "Request": "sched.request",
    "RequestState": "sched.request",
    "ScheduledChunk": "sched.scheduler",
    "Scheduler": "sched.scheduler",
    "StepPlan": "sched.scheduler",
}
__getattr__ = lazy_exports(__name__, _HOMES)

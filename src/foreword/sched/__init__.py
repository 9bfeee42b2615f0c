"""Scheduling: pure, on top of the cache. Its names are imported when first used."""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.sched.config import SchedulerConfig
    from foreword.sched.drafter import Draft, Drafter, Proposal
    from foreword.sched.predicted import Predicted
    from foreword.sched.prompt_lookup import PromptLookup
    from foreword.sched.request import Request, RequestState
    from foreword.sched.scheduler import ScheduledChunk, Scheduler, StepPlan
    from foreword.sched.tree_drafter import TreeDrafter

__all__ = [
    "Draft",
    "Drafter",
    "Predicted",
    "PromptLookup",
    "Proposal",
    "Request",
    "RequestState",
    "ScheduledChunk",
    "Scheduler",
    "SchedulerConfig",
    "StepPlan",
    "TreeDrafter",
]
_HOMES = {
    "SchedulerConfig": "sched.config",
    "Draft": "sched.drafter",
    "Drafter": "sched.drafter",
    "Proposal": "sched.drafter",
    "Predicted": "sched.predicted",
    "PromptLookup": "sched.prompt_lookup",
    "TreeDrafter": "sched.tree_drafter",
    "Request": "sched.request",
    "RequestState": "sched.request",
    "ScheduledChunk": "sched.scheduler",
    "Scheduler": "sched.scheduler",
    "StepPlan": "sched.scheduler",
}
__getattr__ = lazy_exports(__name__, _HOMES)

"""Scheduling: pure, on top of the cache."""

from foreword.sched.config import SchedulerConfig
from foreword.sched.request import PrivateTail, Request, RequestState
from foreword.sched.scheduler import ScheduledChunk, Scheduler, StepPlan

__all__ = ["PrivateTail", "Request", "RequestState", "ScheduledChunk", "Scheduler", "SchedulerConfig", "StepPlan"]

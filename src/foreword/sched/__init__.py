"""Scheduling: pure, on top of the cache."""

from foreword.sched.request import Request, RequestState
from foreword.sched.scheduler import ScheduledChunk, Scheduler, SchedulerConfig, StepPlan

__all__ = ["Request", "RequestState", "ScheduledChunk", "Scheduler", "SchedulerConfig", "StepPlan"]

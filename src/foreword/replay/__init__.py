"""Traces through the real cache, scheduler and loop, with a fake runner and a virtual clock."""

from foreword.replay.cache_loop import SPACE, hit_rate, namespace_of, process
from foreword.replay.step_loop import run_step
from foreword.replay.traces import Trace, TraceRequest, read_trace

__all__ = ["SPACE", "Trace", "TraceRequest", "hit_rate", "namespace_of", "process", "read_trace", "run_step"]

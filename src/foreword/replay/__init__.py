"""Traces through the real cache, scheduler and loop, with a simulated runner and a virtual clock. Needs no torch."""

from foreword.replay.cache_loop import SPACE, hit_rate, namespace_of, process, replay_cache
from foreword.replay.config import Loop, ReplayConfig
from foreword.replay.costs import Costs, costs_from_rates, costs_from_report
from foreword.replay.engine_loop import EngineReplay
from foreword.replay.result import ReplayResult
from foreword.replay.simulated import SimulatedRunner, VirtualClock, simulated_engine
from foreword.replay.step_loop import run_step
from foreword.replay.sweep import Cell, OptimumCell, grid, optima, replay_with, sweep
from foreword.replay.trace_writer import TraceWriter
from foreword.replay.traces import Trace, TraceRequest, read_trace

__all__ = [
    "SPACE",
    "Cell",
    "Costs",
    "EngineReplay",
    "Loop",
    "OptimumCell",
    "ReplayConfig",
    "ReplayResult",
    "SimulatedRunner",
    "Trace",
    "TraceRequest",
    "TraceWriter",
    "VirtualClock",
    "costs_from_rates",
    "costs_from_report",
    "grid",
    "hit_rate",
    "namespace_of",
    "optima",
    "process",
    "read_trace",
    "replay_cache",
    "replay_with",
    "run_step",
    "simulated_engine",
    "sweep",
]

"""What ``foreword bench`` measures: workloads, the machine's bounds beside them, and where a step's time goes."""

from foreword.bench.bounds import ModelWork, ideal_rounds
from foreword.bench.machine import Limits, machine, measure_limits, watching_others
from foreword.bench.profile import PARTS, Phase, profile
from foreword.bench.runs import Figure, Result, repeat_workloads, run_batch
from foreword.bench.step_costs import StepCosts
from foreword.bench.workloads import WORKLOADS, Workload, choose_workloads

__all__ = [
    "PARTS",
    "WORKLOADS",
    "Figure",
    "Limits",
    "ModelWork",
    "Phase",
    "Result",
    "StepCosts",
    "Workload",
    "choose_workloads",
    "ideal_rounds",
    "machine",
    "measure_limits",
    "profile",
    "repeat_workloads",
    "run_batch",
    "watching_others",
]

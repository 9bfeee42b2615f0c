"""Stand-ins for whoever tests Foreword: a runner without a model, KV that are hashes, faulty stores, tiny models, causes.

Names are loaded when first used; only those of tiny models need torch.
"""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.replay.simulated import VirtualClock
    from foreword.testing.events import finished
    from foreword.testing.fake_runner import FakeRunner, fake_engine
    from foreword.testing.faulty_store import Fault, FaultyStore
    from foreword.testing.hash_kv import BlockObserver, HashKV, HashMachine, prefix_hashes
    from foreword.testing.memory_store import MemoryStore
    from foreword.testing.planted_causes import Planter, World, run_cases
    from foreword.testing.synthetic_trace import trace_lines, trace_stream
    from foreword.testing.tiny_models import FAMILIES, write_model, write_tokenizer

_HOMES = {
    "FAMILIES": "testing.tiny_models",
    "BlockObserver": "testing.hash_kv",
    "FakeRunner": "testing.fake_runner",
    "Fault": "testing.faulty_store",
    "FaultyStore": "testing.faulty_store",
    "HashKV": "testing.hash_kv",
    "HashMachine": "testing.hash_kv",
    "MemoryStore": "testing.memory_store",
    "Planter": "testing.planted_causes",
    "VirtualClock": "replay.simulated",
    "World": "testing.planted_causes",
    "fake_engine": "testing.fake_runner",
    "finished": "testing.events",
    "prefix_hashes": "testing.hash_kv",
    "run_cases": "testing.planted_causes",
    "trace_lines": "testing.synthetic_trace",
    "trace_stream": "testing.synthetic_trace",
    "write_model": "testing.tiny_models",
    "write_tokenizer": "testing.tiny_models",
}
__all__ = [
    "FAMILIES",
    "BlockObserver",
    "FakeRunner",
    "Fault",
    "FaultyStore",
    "HashKV",
    "HashMachine",
    "MemoryStore",
    "Planter",
    "VirtualClock",
    "World",
    "fake_engine",
    "finished",
    "prefix_hashes",
    "run_cases",
    "trace_lines",
    "trace_stream",
    "write_model",
    "write_tokenizer",
]

__getattr__ = lazy_exports(__name__, _HOMES)

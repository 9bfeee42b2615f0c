"""What an engine's events tell: why requests hit or missed, which prefixes matter, what more memory would bring. No IO."""

from foreword.observe.block_lives import BlockLife, BlockLives
from foreword.observe.counters import Counts
from foreword.observe.curve import CurvePoint, CurveSnapshot
from foreword.observe.explain import Eviction, Explanation, Nearest, PromptReader, Reason, TokenReader
from foreword.observe.near_twins import TwinGroup
from foreword.observe.observer import Observer, ObserverConfig
from foreword.observe.prefixes import Prefix
from foreword.observe.savings import CostModel, Savings, TokenPrice, own_price
from foreword.observe.shape import PromptShape, shape_of

__all__ = [
    "BlockLife",
    "BlockLives",
    "CostModel",
    "Counts",
    "CurvePoint",
    "CurveSnapshot",
    "Eviction",
    "Explanation",
    "Nearest",
    "Observer",
    "ObserverConfig",
    "Prefix",
    "PromptReader",
    "PromptShape",
    "Reason",
    "Savings",
    "TokenPrice",
    "TokenReader",
    "TwinGroup",
    "own_price",
    "shape_of",
]

"""The rules, one file each. Their order is the order in which they are asked why two prompts part: the surest first."""

from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.history_rewritten import HistoryRewritten
from foreword.audit.rules.json_order import JsonOrder
from foreword.audit.rules.lifetime_too_short import LifetimeTooShort
from foreword.audit.rules.marks_below_minimum import MarksBelowMinimum
from foreword.audit.rules.marks_misplaced import MarksMisplaced
from foreword.audit.rules.marks_missing import MarksMissing
from foreword.audit.rules.media_re_encoded import MediaReEncoded
from foreword.audit.rules.model_switched import ModelSwitched
from foreword.audit.rules.nonce_at_head import NonceAtHead
from foreword.audit.rules.parallel_first_requests import ParallelFirstRequests
from foreword.audit.rules.static_after_dynamic import StaticAfterDynamic
from foreword.audit.rules.tools_changed import ToolsChanged
from foreword.audit.rules.tools_reordered import ToolsReordered
from foreword.audit.rules.user_value import UserValue
from foreword.audit.rules.volatile_value import VolatileValue
from foreword.audit.rules.whitespace_drift import WhitespaceDrift

RULES: tuple[type[Rule], ...] = (
    ToolsReordered,
    JsonOrder,
    WhitespaceDrift,
    ToolsChanged,
    MediaReEncoded,
    NonceAtHead,
    VolatileValue,
    HistoryRewritten,
    UserValue,
    StaticAfterDynamic,
    ModelSwitched,
    MarksMissing,
    MarksMisplaced,
    MarksBelowMinimum,
    LifetimeTooShort,
    ParallelFirstRequests,
)

__all__ = ["RULES", "Fixer", "Rule"]

"""The rules, one file each. Their order is the order in which they are asked why two prompts part: the surest first."""

from foreword.prompt.audit.rules.base import Fixer, Rule
from foreword.prompt.audit.rules.history_rewritten import HistoryRewritten
from foreword.prompt.audit.rules.json_order import JsonOrder
from foreword.prompt.audit.rules.lifetime_too_short import LifetimeTooShort
from foreword.prompt.audit.rules.marks_below_minimum import MarksBelowMinimum
from foreword.prompt.audit.rules.marks_misplaced import MarksMisplaced
from foreword.prompt.audit.rules.marks_missing import MarksMissing
from foreword.prompt.audit.rules.media_re_encoded import MediaReEncoded
from foreword.prompt.audit.rules.model_switched import ModelSwitched
from foreword.prompt.audit.rules.nonce_at_head import NonceAtHead
from foreword.prompt.audit.rules.parallel_first_requests import ParallelFirstRequests
from foreword.prompt.audit.rules.static_after_dynamic import StaticAfterDynamic
from foreword.prompt.audit.rules.tools_changed import ToolsChanged
from foreword.prompt.audit.rules.tools_reordered import ToolsReordered
from foreword.prompt.audit.rules.user_value import UserValue
from foreword.prompt.audit.rules.volatile_value import VolatileValue
from foreword.prompt.audit.rules.whitespace_drift import WhitespaceDrift

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

"""The rules, one file each. Their order is the order in which they are asked why two prompts part: the surest first."""

from foreword.audit.rules.base import Fixer, Rule
from foreword.audit.rules.call_ids_renewed import CallIdsRenewed
from foreword.audit.rules.deployments_apart import DeploymentsApart
from foreword.audit.rules.history_rewritten import HistoryRewritten
from foreword.audit.rules.hits_dropped import HitsDropped
from foreword.audit.rules.json_order import JsonOrder
from foreword.audit.rules.lifetime_too_short import LifetimeTooShort
from foreword.audit.rules.marks_below_minimum import MarksBelowMinimum
from foreword.audit.rules.marks_misplaced import MarksMisplaced
from foreword.audit.rules.marks_missing import MarksMissing
from foreword.audit.rules.media_re_encoded import MediaReEncoded
from foreword.audit.rules.model_switched import ModelSwitched
from foreword.audit.rules.nonce_at_head import NonceAtHead
from foreword.audit.rules.one_growing_block import OneGrowingBlock
from foreword.audit.rules.parallel_first_requests import ParallelFirstRequests
from foreword.audit.rules.provider_reports_none import ProviderReportsNone
from foreword.audit.rules.settings_changed import SettingsChanged
from foreword.audit.rules.static_after_dynamic import StaticAfterDynamic
from foreword.audit.rules.tools_changed import ToolsChanged
from foreword.audit.rules.tools_reordered import ToolsReordered
from foreword.audit.rules.unicode_form import UnicodeForm
from foreword.audit.rules.user_value import UserValue
from foreword.audit.rules.volatile_value import VolatileValue
from foreword.audit.rules.whitespace_drift import WhitespaceDrift

RULES: tuple[type[Rule], ...] = (
    SettingsChanged,
    ToolsReordered,
    JsonOrder,
    WhitespaceDrift,
    UnicodeForm,
    CallIdsRenewed,
    OneGrowingBlock,
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
    ProviderReportsNone,
    DeploymentsApart,
    HitsDropped,
)

__all__ = ["RULES", "Fixer", "Rule"]

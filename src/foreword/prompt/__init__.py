"""Prompts: from what callers write to what the engine takes, and how to write them so that they hit.

No IO, no torch; the one file read is the price table in the package. The names below are imported when first used.
``foreword.audit`` reads whole logs of requests.
"""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.prompt.builder import BuiltPrompt, PromptBuilder
    from foreword.prompt.canonical import (
        canonical_json,
        canonical_messages,
        canonical_request,
        canonical_text,
        canonical_tools,
    )
    from foreword.prompt.conversation import Conversation
    from foreword.prompt.grouping import Grouping, group_by_prefix
    from foreword.prompt.inputs import Prompt, PromptInput, parse_conversation, parse_prompt
    from foreword.prompt.prices import ModelPrice, PriceTable
    from foreword.prompt.segments import Piece, SegmentedPrompt, segment
    from foreword.prompt.template import TEMPLATE_FILES, PromptTemplate
    from foreword.prompt.template_audit import Break, Check, Scenario, audit_template, default_scenarios
    from foreword.prompt.tokenizer import ApproximateTokenizer, Encoded, HubTokenizer, Tokenizer
    from foreword.prompt.volatile import Volatile, find_volatile

__all__ = [
    "TEMPLATE_FILES",
    "ApproximateTokenizer",
    "Break",
    "BuiltPrompt",
    "Check",
    "Conversation",
    "Encoded",
    "Grouping",
    "HubTokenizer",
    "ModelPrice",
    "Piece",
    "PriceTable",
    "Prompt",
    "PromptBuilder",
    "PromptInput",
    "PromptTemplate",
    "Scenario",
    "SegmentedPrompt",
    "Tokenizer",
    "Volatile",
    "audit_template",
    "canonical_json",
    "canonical_messages",
    "canonical_request",
    "canonical_text",
    "canonical_tools",
    "default_scenarios",
    "find_volatile",
    "group_by_prefix",
    "parse_conversation",
    "parse_prompt",
    "segment",
]
_HOMES = {
    "BuiltPrompt": "prompt.builder",
    "PromptBuilder": "prompt.builder",
    "canonical_json": "prompt.canonical",
    "canonical_messages": "prompt.canonical",
    "canonical_request": "prompt.canonical",
    "canonical_text": "prompt.canonical",
    "canonical_tools": "prompt.canonical",
    "Conversation": "prompt.conversation",
    "Grouping": "prompt.grouping",
    "group_by_prefix": "prompt.grouping",
    "Prompt": "prompt.inputs",
    "PromptInput": "prompt.inputs",
    "parse_conversation": "prompt.inputs",
    "parse_prompt": "prompt.inputs",
    "ModelPrice": "prompt.prices",
    "PriceTable": "prompt.prices",
    "Piece": "prompt.segments",
    "SegmentedPrompt": "prompt.segments",
    "segment": "prompt.segments",
    "TEMPLATE_FILES": "prompt.template",
    "PromptTemplate": "prompt.template",
    "Break": "prompt.template_audit",
    "Check": "prompt.template_audit",
    "Scenario": "prompt.template_audit",
    "audit_template": "prompt.template_audit",
    "default_scenarios": "prompt.template_audit",
    "ApproximateTokenizer": "prompt.tokenizer",
    "Encoded": "prompt.tokenizer",
    "HubTokenizer": "prompt.tokenizer",
    "Tokenizer": "prompt.tokenizer",
    "Volatile": "prompt.volatile",
    "find_volatile": "prompt.volatile",
}
__getattr__ = lazy_exports(__name__, _HOMES)

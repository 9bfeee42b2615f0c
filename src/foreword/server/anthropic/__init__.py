"""The Anthropic dialect: messages and token counts, with marks."""

from foreword.server.anthropic.dialect import make_dialect

__all__ = ["make_dialect"]

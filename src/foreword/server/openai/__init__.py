"""The OpenAI dialect: chat completions, completions, responses, models."""

from foreword.server.openai.dialect import make_dialect

__all__ = ["make_dialect"]

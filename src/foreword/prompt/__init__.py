"""Prompts: from what callers write to what the engine takes. No IO, no tokenizer of its own."""

from foreword.prompt.inputs import Prompt, PromptInput, parse_prompt

__all__ = ["Prompt", "PromptInput", "parse_prompt"]

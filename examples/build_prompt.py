"""A prompt in parts, the stable first; a date among them is refused; the marks stand where they pay."""

from datetime import date

from foreword.errors import PromptError
from foreword.prompt import PromptBuilder

RULES = "You work at the desk of a railway station. Answer in one sentence.\n" + "Trains leave every hour.\n" * 300

builder = PromptBuilder(names={"customer's name": "Ann Lee"})
try:
    builder.static("rules", f"Today is {date(2026, 11, 22)}.\n{RULES}")
except PromptError as error:
    print(error)

builder.static("rules", RULES)
builder.session("customer", "The customer is Ann Lee.")
builder.turn("now", f"Today is {date(2026, 11, 22)}.")
builder.turn("question", "When does the next train leave?")
body = builder.build().anthropic("claude-opus-5", max_tokens=100)
for block in body["system"]:
    print(block["text"][:24], "marked" if "cache_control" in block else "not marked")

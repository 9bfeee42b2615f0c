"""What a model thinks before it answers, told apart from what it says. No call in it counts."""

from dataclasses import dataclass

from foreword.serving.tool_forms.base import Parts
from foreword.serving.tool_forms.source import Reading, Source, marks


@dataclass(frozen=True, slots=True)
class ReasoningForm:
    """The marks between which a model thinks. ``named_by``: texts in a chat template that tell of them."""

    name: str
    begin: str
    end: str
    named_by: tuple[str, ...]

    def is_of(self, template: str) -> bool:
        """Whether a chat template tells of this form."""
        return any(text in template for text in self.named_by)

    def is_open(self, prompt: str) -> bool:
        """Whether a prompt ends within thoughts: the chat template has opened them for the model."""
        return prompt.rstrip().endswith(self.begin)

    def read(self, source: Source, parts: Parts, is_open: bool) -> Reading[None]:
        """Read the thoughts with which an answer begins, if it does; ``is_open``: their beginning stands in the prompt."""
        start = source.position
        blanks, _ = yield from source.ahead()
        if (yield from source.starts(self.begin, behind=len(blanks))):
            source.take(len(blanks) + len(self.begin))
        elif not is_open:
            return
        parts.thinks_from(start)
        yield from source.to_mark(marks(self.end), parts.thought)
        parts.thinks_to(source.position)
        yield from source.blanks()


OFF = "none"
"""In place of a form's name: thoughts are not told apart."""
THINK = ReasoningForm("think", "<think>", "</think>", ("<think>", "</think>"))
FORMS = (
    ReasoningForm("gemma", "<|channel>thought", "<channel|>", ("<|channel>",)),
    ReasoningForm("mistral", "[THINK]", "[/THINK]", ("[THINK]",)),
    ReasoningForm("seed", "<seed:think>", "</seed:think>", ("<seed:think>",)),
    ReasoningForm("cohere", "<|START_THINKING|>", "<|END_THINKING|>", ("<|START_THINKING|>",)),
    ReasoningForm("exaone", "<thought>", "</thought>", ("<thought>",)),
    THINK,
)
"""In the order in which they are asked whether a chat template is theirs. gpt-oss tells by itself what it thinks."""


def reasoning_named(name: str) -> ReasoningForm | None:
    """The form of a name; None if there is none."""
    return next((form for form in FORMS if form.name == name), None)


def reasoning_of(template: str | None) -> ReasoningForm:
    """The form of which a chat template tells; where it tells of none, that of ``<think>``."""
    return next((form for form in FORMS if template and form.is_of(template)), THINK)

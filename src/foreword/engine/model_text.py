"""A model's words: its tokenizer and its chat template. Can be read from any thread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from foreword.errors import ModelError
from foreword.prompt.chat import ChatPrompt
from foreword.prompt.inputs import Prompt
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import HubTokenizer
from foreword.prompt.vendor_forms.openai import read_messages
from foreword.prompt.vendor_forms.tools import as_function
from foreword.prompt.written import write_conversation


@dataclass(frozen=True)
class TextNotes:
    """A model's words as plain values, which can be kept and sent.

    tokenizer
        The tokenizer in JSON, as ``tokenizer.json`` has it.
    template
        The chat template, or several by name, if there is one.
    special
        Special tokens by the names that templates know them by.
    """

    tokenizer: str
    template: str | dict[str, str] | None
    special: dict[str, str]

    @classmethod
    def of(cls, tokenizer: Any) -> "TextNotes":
        """Of transformers' ``tokenizer``."""
        return cls(tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template or None, _special(tokenizer))

    def model_text(self, original: Callable[[], Any] = lambda: None) -> "ModelText":
        """The words of the model that was noted; ``original`` gives what transformers loads, if anything does."""
        own = HubTokenizer.from_json(self.tokenizer)
        return ModelText(own, _prompt_template(self.template, own, self.special), original)


@dataclass(frozen=True)
class ModelText:
    """How text becomes tokens, and tokens text.

    template
        None where the model has no chat template.
    original
        Gives the tokenizer as transformers loads it; None where there is none.
    """

    tokenizer: HubTokenizer
    template: PromptTemplate | None = None
    original: Callable[[], Any] = lambda: None

    @classmethod
    def of(cls, tokenizer: Any) -> "ModelText":
        """Those of transformers' ``tokenizer``. ModelError if its chat template is not valid."""
        own = HubTokenizer(tokenizer.backend_tokenizer)
        return cls(own, _prompt_template(tokenizer.chat_template, own, _special(tokenizer)), lambda: tokenizer)

    def notes(self) -> TextNotes:
        """The same as plain values, of which another process makes it again."""
        template, tokenizer = self.template, self.tokenizer.to_json()
        return (
            TextNotes(tokenizer, None, {})
            if template is None
            else TextNotes(tokenizer, dict(template.sources), template.special_tokens)
        )

    def bounded(self, most_tokens: int) -> "ModelText":
        """The same, where no longer prompt can be answered: what can be known of that is refused before it is tokenized."""
        own = self.tokenizer.bounded(most_tokens)
        return replace(self, tokenizer=own, template=None if self.template is None else self.template.with_tokenizer(own))

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        now: datetime,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """A conversation as the chat template writes it, the same as of a request over HTTP.

        ``tools`` in any vendor's form; ``variables``: further ones for the template. ModelError when there is no template,
        PromptError when it refuses.
        """
        if self.template is None:
            raise ModelError(
                "The model's tokenizer has no chat template; use generate() with a prompt that is written out, or add "
                "chat_template.jinja to the model's directory."
            )
        conversation = ChatPrompt(
            messages=read_messages(messages),
            tools=tuple(map(as_function, tools or ())),
            add_generation_prompt=add_generation_prompt,
            template_options=variables or {},
        )
        text = write_conversation(self.template, conversation, now)
        return Prompt(text, self.tokenizer.tokens(text, add_special_tokens=False))

    def tokens(self, prompt: Prompt) -> bytes:
        """The packed tokens of a prompt: its own, or those of its text with the special tokens that the model adds."""
        if prompt.tokens is not None:
            return prompt.tokens
        assert prompt.text is not None
        return self.tokenizer.tokens(prompt.text, add_special_tokens=True)

    def tokenized(self, prompt: Prompt) -> Prompt:
        """A prompt that has its tokens."""
        return prompt if prompt.tokens is not None else replace(prompt, tokens=self.tokens(prompt))


def _special(tokenizer: Any) -> dict[str, str]:
    return {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}


def _prompt_template(
    template: str | Mapping[str, str] | None, tokenizer: HubTokenizer, special: dict[str, str]
) -> PromptTemplate | None:
    return PromptTemplate(template, tokenizer, special) if template else None

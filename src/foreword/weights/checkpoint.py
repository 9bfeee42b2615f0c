"""Checkpoint: a model's files, whatever their form. One file a form beside this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tokenizers
import torch
from torch import nn

SERVED = (
    "decoder-only causal models of transformers that use its attention interface once a layer; tested: "
    "Llama, Mistral, Qwen2, Qwen3, Gemma 1 to 3, Phi-3, Mixtral, Qwen MoE, gpt-oss, Llama 4 (docs/how-to/models.md has all)"
)


@dataclass(frozen=True)
class Described:
    """A model that is known from its files alone, without transformers.

    config
        Its configuration in transformers' words, nothing left to a default that changes the answer.
    frequency_factors
        By which the frequencies of rotary positions are divided beside what the configuration says; None: by none.
    tokenizer
        As the library of tokenizers has it.
    templates
        Chat templates by name; empty: there is none.
    special
        Special tokens by the names that templates know them by.
    """

    config: Mapping[str, Any]
    frequency_factors: tuple[float, ...] | None
    tokenizer: tokenizers.Tokenizer
    templates: Mapping[str, str]
    special: Mapping[str, str]


class Checkpoint(Protocol):
    """A model as it lies in files. What is damaged or missing is a ModelError when it is asked for."""

    @property
    def name(self) -> str:
        """What the model is called in answers and logs."""
        ...

    def described(self) -> Described | None:
        """What the files say, where that is understood without transformers; None: it has to be asked."""
        ...

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer, a fast one."""
        ...

    def load_module(self, attention: str, accept: Callable[[Any], None]) -> nn.Module:
        """The model as transformers builds it, with its weights in float32, its attention being the one of that name.

        ``accept`` is given transformers' configuration first, before weights are read, and may raise.
        """
        ...

    def tensor(self, name: str) -> torch.Tensor | None:
        """A tensor in numbers, by the name that transformers has for it: as it is stored, or in float32 what its blocks
        stand for. None where there is none."""
        ...

    def text_files(self) -> Mapping[str, bytes]:
        """All that is told of the model besides its weights, by the files' names: configuration, tokenizer, templates."""
        ...

    def block_formats(self) -> Mapping[str, str]:
        """Of each tensor that is stored in blocks of a weight format, by its name: that format. All others are numbers."""
        ...

    def blocks(self, name: str) -> torch.Tensor:
        """A tensor that is stored in blocks, as it is: uint8 [rows, bytes of a row]. KeyError for one that is not."""
        ...

    def digest(self) -> str:
        """Of all that the model's numbers depend on: equal digests, equal weights."""
        ...

    def release_pages(self) -> None:
        """Let go of the memory that holds what was read so far; it is read again if need be."""
        ...

"""Checkpoint: a model's files, whatever their form. One file a form beside this one."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

SERVED = (
    "decoder-only causal models of transformers that use its attention interface once a layer; tested: "
    "Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3, Phi-3"
)


class Checkpoint(Protocol):
    """A model as it lies in files. What is damaged or missing is a ModelError when it is asked for."""

    @property
    def name(self) -> str:
        """What the model is called in answers and logs."""
        ...

    @property
    def config(self) -> Any:
        """transformers' configuration."""
        ...

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer, a fast one."""
        ...

    def load_module(self, attention: str) -> nn.Module:
        """The model as transformers builds it, with its weights in float32, its attention being the one of that name."""
        ...

    def tensor(self, name: str) -> torch.Tensor | None:
        """A tensor as it is stored, by the name that it has in the files; None where there is none, or it is in blocks."""
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

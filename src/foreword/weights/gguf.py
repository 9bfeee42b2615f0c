"""Models in GGUF files, as llama.cpp and ollama run them: one file, or one that was split.

transformers is imported only where a model is not of the plain shape, or somebody asks for its tokenizer.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from foreword.errors import ModelError
from foreword.weights.checkpoint import Described
from foreword.weights.dequantize import dequantized
from foreword.weights.gguf_config import ModelNotes, read_notes
from foreword.weights.gguf_file import MEND, GgufFile, shown
from foreword.weights.gguf_tokenizer import GgufWords
from foreword.weights.mapped_files import forget_mapped_pages
from foreword.weights.stored_modules import keep_stored, stored_embedding

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TURNED = (".q_proj.", ".k_proj.")


class GgufCheckpoint:
    """A model in a GGUF file. See Checkpoint; tensors have the names that transformers gives them."""

    def __init__(self, path: Path, name: str):
        """``path``: of the file, or of any of its parts. ModelError, which names the file and what is wrong in it."""
        self.name = name
        self.path = path
        self._file = GgufFile(path)
        _refuse_parts(self._file)
        self._words = GgufWords(self._file)
        self._notes: ModelNotes = read_notes(self._file, self._words.ids())
        self._stored = {theirs: ours for ours, theirs in self._notes.names.items()}
        if self._notes.config["tie_word_embeddings"]:
            self._stored[HEAD] = self._stored[EMBEDDING]

    def described(self) -> Described:
        """See Checkpoint. All of it is known from the file."""
        return self._described

    @cached_property
    def tokenizer(self) -> Any:
        """See Checkpoint."""
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(tokenizer_object=self._words.tokenizer(), **self._words.special())
        templates = self._words.templates()
        made.chat_template = templates.get("default") if len(templates) <= 1 else templates
        return made

    def load_module(self, attention: str, accept: Callable[[Any], None]) -> nn.Module:
        """See Checkpoint. Weights of linear layers stay in the file: each is read when its layer is called."""
        import transformers

        config = dict(self._notes.config)
        made = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        accept(made)
        with torch.device("meta"):
            module: nn.Module = transformers.AutoModelForCausalLM.from_config(
                made, attn_implementation=attention, dtype=torch.float32
            ).eval()
        _make_buffers(module)
        self._fill(module)
        divided = self._notes.frequency_factors
        if divided is not None:
            for name, buffer in module.named_buffers():
                if name.endswith("inv_freq"):
                    buffer.div_(torch.tensor(divided))
        return module

    def tensor(self, name: str) -> torch.Tensor | None:
        """See Checkpoint."""
        stored = self._stored.get(name)
        if stored is None:
            return None
        place = self._file.tensors[stored]
        numbers = self._numbers(name, place.type.name.lower()).view(place.shape)
        if self._notes.family.norm_offset and name.endswith("norm.weight"):
            numbers = numbers.float() - self._notes.family.norm_offset
        if not bool(numbers.sum().isfinite()) and not bool(numbers.isfinite().all()):
            raise ModelError(
                f"Tensor {stored!r} of GGUF file {str(self.path)!r} holds weights that are no numbers (NaN or inf). {MEND}"
            )
        return numbers

    def block_formats(self) -> Mapping[str, str]:
        """See Checkpoint: ggml's names in small letters. Numbers of 16 bits are blocks of one."""
        return self._block_formats

    @cached_property
    def _block_formats(self) -> dict[str, str]:
        tensors = self._file.tensors
        formats = {theirs: tensors[ours].type.name.lower() for theirs, ours in self._stored.items()}
        return {name: format for name, format in formats.items() if format != "f32"}

    def blocks(self, name: str) -> torch.Tensor:
        """See Checkpoint: ggml's blocks, one behind another."""
        if name not in self.block_formats():
            raise KeyError(name)
        return torch.from_numpy(self._rows(name))

    def text_files(self) -> dict[str, bytes]:
        """See Checkpoint: what the file says, as a directory in Hugging Face layout would; but for the tokenizer."""
        return {
            "config.json": json.dumps(self._notes.config).encode(),
            "generation_config.json": json.dumps(self._words.generation()).encode(),
        }

    def digest(self) -> str:
        """SHA-256 over all of its files, computed once."""
        return self._digest

    def release_pages(self) -> None:
        """See Checkpoint."""
        forget_mapped_pages([part.path for part in self._file.parts])

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for part in self._file.parts:
            with part.path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    @cached_property
    def _described(self) -> Described:
        return Described(
            config=self._notes.config,
            frequency_factors=self._notes.frequency_factors,
            tokenizer=self._words.tokenizer(),
            templates=self._words.templates(),
            special=self._words.special(),
        )

    def _rows(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes [rows, bytes of a row], its rows in the order that transformers has them in."""
        rows = self._file.rows(self._stored[name])
        if not self._notes.family.turned or not any(part in name for part in TURNED):
            return rows
        config = self._notes.config
        heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
        if name.endswith(".bias"):
            turned = rows.view("<f4").reshape(heads, -1, 2).swapaxes(1, 2)
            return np.ascontiguousarray(turned).view(np.uint8).reshape(1, -1)
        return np.ascontiguousarray(rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2)).reshape(rows.shape)

    def _numbers(self, name: str, format: str) -> torch.Tensor:
        try:
            return dequantized(torch.from_numpy(self._rows(name)), format)
        except NotImplementedError as error:
            raise ModelError(
                f"Tensor {self._stored[name]!r} of GGUF file {str(self.path)!r} is of type {format!r}, which cannot be "
                f"read. Take a file with another quantisation."
            ) from error

    def _wanted(self, name: str) -> torch.Tensor:
        found = self.tensor(name)
        if found is None:
            raise ModelError(f"GGUF file {str(self.path)!r} has nothing for {name!r}. {MEND}")
        return found

    def _fill(self, module: nn.Module) -> None:
        """The weights: those of linear layers and of the embedding stay in the file, all others are copied."""
        for name, child in list(module.named_modules()):
            for kind, parameter in list(child.named_parameters(recurse=False)):
                full = f"{name}.{kind}"
                if full == EMBEDDING:
                    continue
                if full in self._stored and type(child) is nn.Linear and kind == "weight":
                    keep_stored(child, partial(self._wanted, full))
                    continue
                value = self._wanted(full).float().clone()
                if value.shape != parameter.shape:
                    raise ModelError(f"Tensor {full!r} of GGUF file {str(self.path)!r} is of another shape. {MEND}")
                setattr(child, kind, nn.Parameter(value, requires_grad=False))
        base = module.get_submodule("model")
        scale = dict(base.get_submodule("embed_tokens").named_buffers()).get("embed_scale")
        base.embed_tokens = stored_embedding(self, EMBEDDING, 1.0 if scale is None else float(scale))


def _make_buffers(module: Any) -> None:
    """Buffers of a module that was made without memory: transformers knows what is in them."""
    for child in module.modules():
        buffers = dict(child.named_buffers(recurse=False))
        for name, buffer in buffers.items():
            setattr(child, name, torch.empty_like(buffer, device="cpu"))
    module.initialize_weights()


def _refuse_parts(file: GgufFile) -> None:
    """ModelError for a file that says that it is no model but what goes with one."""
    kind = file.metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(
            f"GGUF file {str(file.path)!r} holds no model: its general.type is {shown(kind)}. Take the model's own file; an "
            f"adapter has to be merged into it first, for adapters are not served."
        )

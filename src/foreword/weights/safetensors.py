"""Checkpoints in Hugging Face layout: a directory with config.json, safetensors and a tokenizer, or a hub name.

transformers is imported when it is asked for something: it takes longer than to read a small model's tensors.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from foreword.errors import ModelError
from foreword.weights.broken_files import broken_json, refuse_unreadable
from foreword.weights.checkpoint import SERVED, Described
from foreword.weights.mapped_files import forget_mapped_pages
from foreword.weights.quantised_layers import QuantisedLayers
from foreword.weights.unused_tensors import refuse_unused

logger = logging.getLogger("foreword")

PACKAGED_MODEL = Path(__file__).parent / "table_reader"
PACKAGED_NAME = "table-reader"
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model")
"""One of these is needed to make text of tokens."""
ONE_BY_ONE = "eager"
"""How experts are computed: each for the rows that chose it, by a product of its own."""
OF_TRANSFORMERS = ("mxfp4",)
"""Ways of quantising that transformers undoes by itself, without other packages."""
WEIGHTS_A_BYTE = 8
"""No kind of quantisation puts more into a byte."""
ADAPTER = "adapter_config.json"
RUST_PANIC = "PanicException"
"""What a tokenizer raises that is damaged in a way its library has not thought of: no Exception, and no name to import."""
NOT_HUB_FILES = ["*/*", "consolidated*"]


class SafetensorsCheckpoint:
    """A directory or hub name in Hugging Face layout; None is the model in the package. See Checkpoint."""

    def __init__(self, model: str | None):
        """ModelError for a path that is missing, or a name that cannot be fetched."""
        self.name = model or PACKAGED_NAME
        self.path = _directory(model)
        refuse_unreadable(self.path)

    def described(self) -> Described | None:
        """None: what such files mean is for transformers to say."""
        return None

    @cached_property
    def tokenizer(self) -> Any:
        """See Checkpoint."""
        if not any(file.name in TOKENIZER_FILES for file in self.path.iterdir()):
            raise ModelError(
                f"Model {str(self.path)!r} has no tokenizer: no {TOKENIZER_FILES[0]} lies there. Copy it from where the "
                f"model came from, or save one with AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            )
        tokenizer = self._load("AutoTokenizer", "tokenizer", trial=_write_a_word)
        if not getattr(tokenizer, "is_fast", False) or not tokenizer.get_vocab():
            raise ModelError(
                f"Model {str(self.path)!r} has no tokenizer that can be used ({type(tokenizer).__name__}): it needs "
                f"tokenizer.json. Save one with AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            )
        return tokenizer

    def load_module(self, attention: str, accept: Callable[[Any], None]) -> nn.Module:
        """See Checkpoint. transformers would fill in random numbers for weights that the files lack; that is an error."""
        config = self._load("AutoConfig", "configuration")
        accept(config)
        self._refuse_sizes(config.get_text_config())
        brought = self._brought_to_numbers(config)
        module, info = self._load(
            "AutoModelForCausalLM",
            "weights",
            dtype=torch.float32,
            attn_implementation=attention,
            experts_implementation=ONE_BY_ONE,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to say which, and to refuse them
            **brought,
        )
        if unlike := sorted(info["mismatched_keys"]):
            name, stored, wanted = unlike[0]
            raise ModelError(
                f"Tensor {name!r} of model {str(self.path)!r} has the shape {list(stored)}; by its configuration it is "
                f"{list(wanted)}. Check the files, or download them again."
            )
        if missing := sorted(info["missing_keys"]):
            raise ModelError(
                f"The weights of model {str(self.path)!r} lack {len(missing)} tensors, {missing[0]} among them. "
                f"Check the files, or download them again."
            )
        model: nn.Module = module.eval()
        parts = self._quantised.parts if self._quantised else ()
        types = {name: kind for name, kind in self._types.items() if name not in parts}
        refuse_unused(str(self.path), model, info["unexpected_keys"], types, _method(model.config))
        return model

    def _refuse_sizes(self, text: Any) -> None:
        """A model that is far larger than its files would be made in memory first, of random numbers."""
        layers, tensors = text.num_hidden_layers, len(self._files_of_tensors)
        if not self._files():
            return  # as transformers will say
        if layers > tensors:
            raise ModelError(
                f"config.json of model {str(self.path)!r} says num_hidden_layers = {layers}, and its files hold "
                f"{tensors} tensors in all. Check the files, or download them again."
            )
        width, stored = getattr(text, "hidden_size", None), sum(file.stat().st_size for file in self._files())
        if isinstance(width, int) and text.vocab_size * width > WEIGHTS_A_BYTE * stored:
            raise ModelError(
                f"By config.json of model {str(self.path)!r} the embedding alone has {text.vocab_size} times {width} "
                f"weights (vocab_size, hidden_size), and its files have {stored} bytes. "
                f"Check the files, or download them again."
            )

    def block_formats(self) -> Mapping[str, str]:
        """None: safetensors are numbers."""
        return {}

    def blocks(self, name: str) -> torch.Tensor:
        """See Checkpoint."""
        raise KeyError(name)

    def tensor(self, name: str) -> torch.Tensor | None:
        """See Checkpoint."""
        weight = self._quantised.weight(name) if self._quantised else None
        if weight is not None or name not in self._files_of_tensors:
            return weight
        return self._stored(name)

    def text_files(self) -> dict[str, bytes]:
        """See Checkpoint."""
        files = sorted(file for pattern in TEXT_FILES for file in self.path.glob(pattern))
        return {file.name: file.read_bytes() for file in files}

    def digest(self) -> str:
        """SHA-256 over the configuration and the weights' files, computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for file in [self.path / "config.json", *self._files()]:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def release_pages(self) -> None:
        """See Checkpoint."""
        forget_mapped_pages(self._files())

    def _stored(self, name: str) -> torch.Tensor:
        """A tensor as it lies in the files. ModelError where there is none."""
        file = self._files_of_tensors.get(name)
        if file is None:
            raise ModelError(f"Model {str(self.path)!r} has no tensor {name!r}. Check the files, or download them again.")
        found: torch.Tensor = self._opened[file].get_tensor(name)
        return found

    @cached_property
    def _quantised(self) -> QuantisedLayers | None:
        """The layers that another program has quantised; None: there are none, or transformers has its own way with them."""
        told = json.loads((self.path / "config.json").read_bytes())
        parts = [part for part in (told, told.get("text_config")) if isinstance(part, dict)]
        config = next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)
        if not isinstance(config, dict) or config.get("quant_method", "") in OF_TRANSFORMERS:
            return None
        return QuantisedLayers(str(self.path), config, self._files_of_tensors.keys(), self._stored)

    def _brought_to_numbers(self, config: Any) -> dict[str, Any]:
        """What transformers is to be given instead of files whose weights are quantised: nothing if they are not."""
        quantised = self._quantised
        if quantised is None:
            return {}
        logger.warning(
            "Weights quantised by %s are brought to numbers when they are loaded, and computed with as --quantization says: "
            "in float32 if it says nothing, smaller with q4_1, q8_0 or int8.",
            quantised.method,
        )
        for part in (config, config.get_text_config()):
            if hasattr(part, "quantization_config"):
                del part.quantization_config
        return {"config": config, "state_dict": {name: self.tensor(name) for name in sorted(quantised.names)}}

    @cached_property
    def _opened(self) -> dict[Path, Any]:
        opened = {}
        for file in self._files():
            try:
                opened[file] = safe_open(file, framework="pt")
            except Exception as error:
                raise ModelError(
                    f"{file.name} of model {str(self.path)!r} cannot be read as safetensors: {_first_line(error)} "
                    f"Check the file, or download it again."
                ) from error
        return opened

    @cached_property
    def _files_of_tensors(self) -> dict[str, Path]:
        return {name: file for file, opened in self._opened.items() for name in opened.keys()}  # noqa: SIM118

    @property
    def _types(self) -> dict[str, str]:
        """Of all tensors, as safetensors calls them."""
        return {name: self._opened[file].get_slice(name).get_dtype() for name, file in self._files_of_tensors.items()}

    def _files(self) -> list[Path]:
        """Those that transformers reads: others may lie beside them, with tensors of the same names."""
        whole = self.path / "model.safetensors"
        return [whole] if whole.is_file() else sorted(self.path.glob("*.safetensors"))

    def _load(self, kind: str, what: str, trial: Callable[[Any], None] = lambda _: None, **options: Any) -> Any:
        """from_pretrained of local files, no code of theirs being run, with errors that say what was being loaded.

        ``trial`` is done with what was loaded, as a part of loading it.
        """
        if sys.flags.optimize > 1:
            raise ModelError(
                "Python was started without docstrings (PYTHONOPTIMIZE=2, or -OO), which transformers needs to load a "
                "model. Set PYTHONOPTIMIZE to 1 or 0."
            )
        import transformers

        try:
            with _quiet_transformers():
                maker: Any = getattr(transformers, kind)
                path: Path | None = self.path
                if "state_dict" in options:
                    maker, path = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(options["config"])], None
                made = maker.from_pretrained(path, local_files_only=True, trust_remote_code=False, **options)
                trial(made)
                return made
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
                raise
            if isinstance(error, KeyError) and error.args == (options.get("attn_implementation"),):
                raise ModelError(
                    f"Model {str(self.path)!r} cannot be served: its code chooses among attentions of its own, and has no "
                    f"place for ours. Served: {SERVED}."
                ) from error
            reason = broken_json(self.path) or _first_line(error)
            raise ModelError(
                f"The {what} of model {str(self.path)!r} could not be loaded: {reason} "
                f"Check the files, or download them again. Served: {SERVED}."
            ) from error


def _directory(model: str | None) -> Path:
    """The directory with a model's files; a hub name is downloaded, or found in the local hub cache."""
    if model is None:
        return PACKAGED_MODEL
    path = Path(model).expanduser()
    if path.is_dir():
        if (path / ADAPTER).exists():
            raise ModelError(
                f"Model directory {model!r} holds an adapter ({ADAPTER}), and adapters are not served. Merge it into its "
                f"base model (peft: merge_and_unload(), then save_pretrained()), or take {ADAPTER} out to serve "
                f"the base model."
            )
        if not (path / "config.json").is_file():
            raise ModelError(
                f"Model directory {model!r} has no config.json; it must be in Hugging Face layout, or hold a GGUF file."
            )
        return path
    if path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(
            f"Model path {model!r} is no directory. Name a directory in Hugging Face layout, a GGUF file or a hub name."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES, ignore_patterns=NOT_HUB_FILES))
    except Exception as error:
        raise ModelError(
            f"Model {model!r} is no directory here, and could not be fetched from the hub: {_first_line(error)} "
            f"Name a directory in Hugging Face layout or a GGUF file, or check the name and the connection."
        ) from error


def _method(config: Any) -> str:
    """What a configuration calls its quantisation; empty: there is none."""
    told = getattr(config, "quantization_config", None) or {}
    return str((told if isinstance(told, dict) else vars(told)).get("quant_method", ""))


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers while a model loads; afterwards as before."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _write_a_word(tokenizer: Any) -> None:
    """A tokenizer may be damaged in a way that shows when it is used."""
    if getattr(tokenizer, "is_fast", False):
        tokenizer.backend_tokenizer.decode(tokenizer.backend_tokenizer.encode("Hello, world: 1").ids)


def _first_line(error: BaseException) -> str:
    """What an error says first; of one that says where in a line of its own, what as well."""
    if isinstance(error, KeyError) and error.args:
        return f"there is no {error.args[0]!r}."
    lines = (str(error).strip() or type(error).__name__).splitlines()
    line = " ".join(each.strip() for each in lines[: 2 if lines[0].endswith(":") else 1])
    return line if line.endswith((".", "!", "?")) else line + "."

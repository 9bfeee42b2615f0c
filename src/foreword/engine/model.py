"""Loading a model: transformers' own modelling code with our attention, linear layers and decoder layers in it.

What can be served is found out by asking the loaded model, not by a list of names: a probe runs two tokens through it and
records the attention calls. A model is refused, by name, when a layer calls attention twice or not at all, when it asks
for something that the backends do not do, or when its rope looks at the longest position of the whole batch.
"""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from foreword.backends.cpu.attention import AttentionStep, LayerCall
from foreword.backends.cpu.decoder_stack import ProbedLayer, replace_layers, watching_layers
from foreword.backends.cpu.kernels.warm_up import compile_all
from foreword.backends.cpu.kv_memory import KV_DTYPES, LayerShape
from foreword.backends.cpu.packed_linear import pack_linear_layers
from foreword.backends.cpu.process_memory import forget_mapped_pages
from foreword.cache import ModelFingerprint
from foreword.errors import ModelError

PACKAGED_MODEL = Path(__file__).parents[1] / "weights" / "table_reader"
ATTENTION_NAME = "foreword"
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
NOT_HUB_FILES = ["*/*", "consolidated*"]
BATCH_WIDE_ROPE = {"longrope", "dynamic"}
SERVED = (
    "decoder-only causal models of transformers that use its attention interface once a layer; tested: "
    "Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3, Phi-3"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be run, and what the engine needs to know about it."""

    name: str
    module: Any
    tokenizer: Any
    layers: list[LayerShape]
    max_context: int
    vocab_size: int
    eos_token_ids: frozenset[int]
    fingerprint: ModelFingerprint


def load_model(model: str | None, block_size: int, quantization: str = "none", kv_dtype: str = "float32") -> LoadedModel:
    """Load a directory or hub name in Hugging Face layout; None is the model in the package.

    Weights are computed with in float32, or as linear.py's ``quantization`` says, whatever they are stored in. ``kv_dtype``
    is what keys and values will be kept in; it is only part of the cache's key. Raises ModelError for a path that is
    missing, damaged files, and models that cannot be served.
    """
    path = _directory(model)
    AttentionInterface.register(ATTENTION_NAME, attention_forward)
    with _quiet_transformers():
        config = _load_part(AutoConfig, path, "configuration")
        text = config.get_text_config()
        _refuse_config(config, text)
        with ThreadPoolExecutor(1) as beside:
            compiled = beside.submit(compile_all, quantization, KV_DTYPES[kv_dtype])
            tokenizer = _load_tokenizer(path)
            module = _load_weights(path)
            compiled.result()
    layers, common = _probe(module, text)
    files = sorted(path.glob("*.safetensors"))
    for layer in replace_layers(module, common):
        pack_linear_layers(layer, quantization)
        forget_mapped_pages(files)
    pack_linear_layers(module, quantization)
    forget_mapped_pages(files)
    numerics = f"torch-{torch.__version__}-{torch.backends.cpu.get_cpu_capability()}"
    return LoadedModel(
        name=model or "table-reader",
        module=module,
        tokenizer=tokenizer,
        layers=layers,
        max_context=int(getattr(text, "max_position_embeddings", None) or 2048),
        vocab_size=int(text.vocab_size),
        eos_token_ids=_eos_token_ids(module),
        fingerprint=ModelFingerprint(
            weights=_digest(path),
            dtype=kv_dtype,
            quantization=quantization,
            rope=repr(getattr(text, "rope_parameters", None)),
            numerics=f"{numerics}-{torch.get_num_threads()} threads",
            block_size=block_size,
        ),
    )


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    *,
    foreword_step: AttentionStep,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers' layers call. Tensors are [1, heads, rows, size]; returns [1, rows, heads, size]."""
    if s_aux is not None:
        raise ModelError(f"{type(module).__name__} uses attention sinks, which cannot be served. Served: {SERVED}.")
    call = LayerCall(
        layer=int(module.layer_idx),  # type: ignore[arg-type]
        scaling=float(scaling if scaling is not None else query.shape[-1] ** -0.5),
        window=sliding_window,
        softcap=softcap,
    )
    return foreword_step.run(call, query[0], key[0], value[0]).unsqueeze(0), None


class _Probe:
    """Stands in for an AttentionStep and records what each layer passes."""

    def __init__(self) -> None:
        self.calls: list[tuple[LayerCall, LayerShape]] = []

    def run(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        self.calls.append((call, LayerShape(keys.shape[0], keys.shape[-1], values.shape[-1])))
        return query.new_zeros(query.shape[1], query.shape[0], values.shape[-1])


def _probe(module: Any, text: Any) -> tuple[list[LayerShape], list[ProbedLayer]]:
    """Run two tokens and see which layers attend, with which shapes; and which layers have the common shape."""
    kind, probe = type(module).__name__, _Probe()
    try:
        with torch.inference_mode(), watching_layers(module) as watched:
            module(
                input_ids=torch.zeros(1, 2, dtype=torch.long),
                position_ids=torch.arange(2)[None] + 5,
                use_cache=False,
                logits_to_keep=1,
                foreword_step=probe,
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{kind} cannot be served: its code does not take our attention ({error}). Served: {SERVED}."
        ) from error
    seen = [call.layer for call, _ in probe.calls]
    expected = list(range(int(text.num_hidden_layers)))
    if seen != expected:
        raise ModelError(
            f"{kind} cannot be served: of its {len(expected)} layers, attention was called by layers {seen}; each must "
            f"call it exactly once (recurrent and hybrid models do not). Served: {SERVED}."
        )
    common = [
        ProbedLayer(*watched[call.layer], call=call, shape=shape) for call, shape in probe.calls if call.layer in watched
    ]
    return [shape for _, shape in probe.calls], common


def _directory(model: str | None) -> Path:
    """The directory with a model's files; a hub name is downloaded, or found in the local hub cache."""
    if model is None:
        return PACKAGED_MODEL
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"Model directory {model!r} has no config.json; it must be in Hugging Face layout.")
        return path
    if path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(f"Model path {model!r} is no directory. Name a directory in Hugging Face layout or a hub name.")
    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES, ignore_patterns=NOT_HUB_FILES))
    except Exception as error:
        raise ModelError(
            f"Model {model!r} is no directory here, and could not be fetched from the hub: {_first_line(error)} "
            f"Name a directory in Hugging Face layout, or check the name and the connection."
        ) from error


def _load_part(kind: Any, path: Path, what: str, **options: Any) -> Any:
    """from_pretrained of local files, no code of theirs being run, with errors that say what was being loaded."""
    try:
        return kind.from_pretrained(path, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        raise ModelError(
            f"The {what} of model {str(path)!r} could not be loaded: {_first_line(error)} "
            f"Check the files, or download them again. Served: {SERVED}."
        ) from error


def _load_weights(path: Path) -> Any:
    """The model; transformers would fill in random numbers for weights that the files lack, we refuse."""
    module, info = _load_part(
        AutoModelForCausalLM,
        path,
        "weights",
        dtype=torch.float32,
        attn_implementation=ATTENTION_NAME,
        use_safetensors=True,
        output_loading_info=True,
    )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"The weights of model {str(path)!r} lack {len(missing)} tensors, {missing[0]} among them. "
            f"Check the files, or download them again."
        )
    return module.eval()


def _load_tokenizer(path: Path) -> Any:
    tokenizer = _load_part(AutoTokenizer, path, "tokenizer")
    if not getattr(tokenizer, "is_fast", False) or not tokenizer.get_vocab():
        raise ModelError(
            f"Model {str(path)!r} has no tokenizer that can be used ({type(tokenizer).__name__}): it needs tokenizer.json. "
            f"Save one with AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        )
    return tokenizer


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers while a model loads; afterwards as before."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith((".", "!", "?")) else line + "."


def _refuse_config(config: Any, text: Any) -> None:
    kind = ", ".join(getattr(config, "architectures", None) or [config.model_type])
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{kind} is an encoder-decoder model and cannot be served. Served: {SERVED}.")
    rope = getattr(text, "rope_parameters", None) or {}
    per_layer = [value for value in rope.values() if isinstance(value, dict)]
    for parameters in [rope, *per_layer]:
        name = parameters.get("rope_type")
        if name in BATCH_WIDE_ROPE:
            raise ModelError(
                f"{kind} with rope type {name!r} cannot be served: its positions depend on the longest request of the "
                f"batch, so an answer would depend on its neighbours. Use a variant with another rope."
            )


def _eos_token_ids(module: Any) -> frozenset[int]:
    ids = getattr(module.generation_config, "eos_token_id", None)
    if ids is None:
        ids = module.config.get_text_config().eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)


def _digest(path: Path) -> str:
    """SHA-256 over the configuration and the weights' files."""
    digest = hashlib.sha256()
    for file in [path / "config.json", *sorted(path.glob("*.safetensors"))]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()

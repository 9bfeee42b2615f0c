"""Loading a model: transformers' own modelling code with our attention, linear layers and decoder layers in it.

What can be served is found out by asking the loaded model, not by a list of names: a probe (probe.py) runs a few tokens
through it and records what its layers ask of attention; then its logits are compared with those of transformers' own code
(load_check.py). A model is refused, by name, when a layer calls attention twice or not at all, when it asks for something
that the backends do not do, or when anything is off.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from foreword.backends.base import AttentionLayer, Backend, LayerShape, ProbedLayer
from foreword.engine.file_defaults import end_token_ids, longest_context
from foreword.engine.load_check import check_model, check_packed
from foreword.engine.model_text import ModelText
from foreword.engine.plain_config import plan_of_config
from foreword.engine.plain_model import PlainModel, PlainPlan, build_plain, plan_of, probed_layers
from foreword.engine.probe import ATTENTION_NAME, probe_layers, register
from foreword.engine.rope import BATCH_WIDE, fix_frequencies
from foreword.errors import ModelError
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import HubTokenizer
from foreword.weights.checkpoint import SERVED, Checkpoint, Described


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be run, and what the engine needs to know about it."""

    name: str
    module: Any
    text: ModelText
    layers: tuple[AttentionLayer, ...]
    max_context: int
    vocab_size: int
    eos_token_ids: frozenset[int]
    own_kernels: bool
    """Whether all that KV come from is computed by the backend's own kernels; see Backend.prepare."""
    weights_digest: str
    rope: str
    """Its parameters, in words that are equal only if they are."""
    plan: PlainPlan | None = None
    """How to build it without transformers, as far as that can be told by looking at it."""
    plain: bool = False
    """Whether it was built from that plan."""

    @property
    def shapes(self) -> tuple[LayerShape, ...]:
        """What each layer keeps of a token."""
        return tuple(layer.shape for layer in self.layers)


def load_model(
    checkpoint: Checkpoint, backend: Backend[Any], max_model_len: int | None = None, checked: bool = False
) -> LoadedModel:
    """Load a model and put the backend's layers into it.

    Weights are computed with in float32, or as the backend was asked, whatever they are stored in. What comes out is
    compared with what transformers computes, unless an earlier start has ``checked`` that. ``max_model_len`` is the length
    of the longest request, where it is less than the model takes: a rope may depend on it. Raises ModelError for damaged
    files, weights that are no numbers, and models that cannot be served.
    """
    described = checkpoint.described()
    if described is not None and (plan := plan_of_config(described)) is not None:
        return load_plain(checkpoint, described, plan, backend)
    register()  # only here, as a start that knows the model needs nothing of transformers
    with ThreadPoolExecutor(1) as beside:
        compiled = beside.submit(backend.warm_up)
        module: Any = checkpoint.load_module(ATTENTION_NAME, _refuse_config)
        tokenizer = checkpoint.tokenizer
        compiled.result()
    config = module.config
    text = config.get_text_config()
    _refuse_weights(checkpoint.name, module)
    context, kind = longest_context(text), type(module).__name__
    fix_frequencies(module, text, min(context, max_model_len or context))
    probed = probe_layers(module, int(text.num_hidden_layers), context)
    before = None if checked else check_model(module, probed, backend, context)
    plan = None if checkpoint.block_formats() else plan_of(module, probed)
    layers, own_kernels = _prepare(module, probed, checkpoint, backend)
    if before is not None:
        check_packed(kind, module, [layer.shape for layer in layers], backend, before)
    return LoadedModel(
        name=checkpoint.name,
        module=module,
        text=_told(checkpoint, lambda: ModelText.of(tokenizer)),
        layers=layers,
        max_context=context,
        vocab_size=int(text.vocab_size),
        eos_token_ids=end_token_ids(checkpoint.text_files(), config, tokenizer),
        own_kernels=own_kernels,
        weights_digest=checkpoint.digest(),
        rope=repr(getattr(text, "rope_parameters", None)),
        plan=plan if own_kernels else None,
    )


def load_plain(checkpoint: Checkpoint, described: Described, plan: PlainPlan, backend: Backend[Any]) -> LoadedModel:
    """Load a model that is known from its files, without transformers. ModelError as of load_model."""
    with ThreadPoolExecutor(1) as beside:
        compiled = beside.submit(backend.warm_up)
        words = described_text(checkpoint, described)
        module = build_plain(plan, checkpoint)
        compiled.result()
    layers, own_kernels = install(module, plan, checkpoint, backend)
    config = described.config
    return LoadedModel(
        name=checkpoint.name,
        module=module,
        text=words,
        layers=layers,
        max_context=longest_context(SimpleNamespace(**config)),
        vocab_size=int(config["vocab_size"]),
        eos_token_ids=frozenset(config["eos_token_id"]),
        own_kernels=own_kernels,
        weights_digest=checkpoint.digest(),
        rope=repr((config["rope_parameters"], described.frequency_factors)),
        plan=plan if own_kernels else None,
        plain=True,
    )


def described_text(checkpoint: Checkpoint, described: Described) -> ModelText:
    """The words of a described model. ModelError for a chat template that is none."""
    tokenizer = HubTokenizer(described.tokenizer)

    def made() -> ModelText:
        template = PromptTemplate(described.templates, tokenizer, described.special) if described.templates else None
        return ModelText(tokenizer, template, lambda: checkpoint.tokenizer)

    return _told(checkpoint, made)


def _told(checkpoint: Checkpoint, make: Callable[[], ModelText]) -> ModelText:
    """What makes a model's words may find a chat template that is none: then the error says whose."""
    try:
        return make()
    except ModelError as error:
        raise ModelError(
            f"The chat template in the files of model {checkpoint.name!r} cannot be used: {str(error).rstrip('.')}. Take "
            f"another file of this model."
        ) from error


def install(
    module: PlainModel, plan: PlainPlan, checkpoint: Checkpoint, backend: Backend[Any]
) -> tuple[tuple[AttentionLayer, ...], bool]:
    """Put the backend's layers into a plain model: what they are, and whether they are the backend's own."""
    return _prepare(module, probed_layers(plan, module), checkpoint, backend)


def _prepare(
    module: torch.nn.Module, probed: list[ProbedLayer], checkpoint: Checkpoint, backend: Backend[Any]
) -> tuple[tuple[AttentionLayer, ...], bool]:
    layers = tuple(layer.attention for layer in probed)
    try:
        return layers, backend.prepare(module, probed, checkpoint)
    except ModelError as error:
        raise ModelError(f"Model {checkpoint.name!r} cannot be loaded: {error}") from error


def _refuse_weights(name: str, module: torch.nn.Module) -> None:
    """A weight that is NaN or inf would make every answer an error: say so at start, by the tensor's name."""
    with torch.inference_mode():
        for tensor, weight in module.named_parameters():
            if weight.is_meta:
                continue  # it is read, and looked at, when it is packed
            if not bool(weight.sum().isfinite()) and not bool(weight.isfinite().all()):
                count = int((~weight.isfinite()).sum())
                raise ModelError(
                    f"Tensor {tensor!r} of model {name!r} holds {count} weights that are no numbers (NaN or inf). "
                    f"Check the files, or download them again."
                )


def _refuse_config(config: Any) -> None:
    named = getattr(config, "architectures", None)
    kind = ", ".join(map(str, named)) if isinstance(named, list) and named else str(config.model_type)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{kind} is an encoder-decoder model and cannot be served. Served: {SERVED}.")
    try:
        text = config.get_text_config()
    except ValueError as error:
        raise ModelError(f"{kind} cannot be served: it is several models of text in one. Served: {SERVED}.") from error
    for key in ("num_hidden_layers", "vocab_size"):
        size = getattr(text, key, None)
        if not isinstance(size, int) or size < 1:
            raise ModelError(
                f"{kind} cannot be served: by its configuration, {key} is {size}, and a decoder has at least one. Check "
                f"config.json. Served: {SERVED}."
            )
    longest_context(text)
    rope = getattr(text, "rope_parameters", None) or {}
    for parameters in [value for value in rope.values() if isinstance(value, dict)]:
        if (name := parameters.get("rope_type")) in BATCH_WIDE:
            raise ModelError(
                f"{kind} with rope type {name!r} for some of its layers cannot be served: their positions depend on the "
                f"longest request of the batch, so an answer would depend on its neighbours. Use another variant."
            )

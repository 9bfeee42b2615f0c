"""Loading a model: transformers' own modelling code with our attention, linear layers and decoder layers in it.

What can be served is found out by asking the loaded model, not by a list of names: a probe runs two tokens through it and
records the attention calls. A model is refused, by name, when a layer calls attention twice or not at all, when it asks
for something that the backends do not do, or when its rope looks at the longest position of the whole batch.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from foreword.backends.base import AttentionLayer, Backend, LayerCall, LayerShape, LayerStep, ProbedLayer
from foreword.engine.file_defaults import end_token_ids, longest_context
from foreword.engine.model_text import ModelText
from foreword.engine.plain_config import plan_of_config
from foreword.engine.plain_model import PlainModel, PlainPlan, build_plain, plan_of, probed_layers
from foreword.errors import ModelError
from foreword.prompt.template import PromptTemplate
from foreword.prompt.tokenizer import HubTokenizer
from foreword.weights.checkpoint import SERVED, Checkpoint, Described

ATTENTION_NAME = "foreword"
BATCH_WIDE_ROPE = {"longrope", "dynamic"}


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


def load_model(checkpoint: Checkpoint, backend: Backend[Any]) -> LoadedModel:
    """Load a model and put the backend's layers into it.

    Weights are computed with in float32, or as the backend was asked, whatever they are stored in. Raises ModelError for
    damaged files, weights that are no numbers, and models that cannot be served.
    """
    described = checkpoint.described()
    if described is not None and (plan := plan_of_config(described)) is not None:
        return load_plain(checkpoint, described, plan, backend)
    from transformers import AttentionInterface  # here, as a start that knows the model needs none of it

    AttentionInterface.register(ATTENTION_NAME, attention_forward)
    with ThreadPoolExecutor(1) as beside:
        compiled = beside.submit(backend.warm_up)
        module: Any = checkpoint.load_module(ATTENTION_NAME, _refuse_config)
        tokenizer = checkpoint.tokenizer
        compiled.result()
    config = module.config
    text = config.get_text_config()
    _refuse_weights(checkpoint.name, module)
    probed = _probe(module, int(text.num_hidden_layers))
    plan = None if checkpoint.block_formats() else plan_of(module, probed)
    layers, own_kernels = _prepare(module, probed, checkpoint, backend)
    return LoadedModel(
        name=checkpoint.name,
        module=module,
        text=ModelText.of(tokenizer),
        layers=layers,
        max_context=longest_context(text),
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
    try:
        template = PromptTemplate(described.templates, tokenizer, described.special) if described.templates else None
    except ModelError as error:
        raise ModelError(
            f"The chat template in the files of model {checkpoint.name!r} cannot be used: {error}. Take another file of "
            f"this model."
        ) from error
    return ModelText(tokenizer, template, lambda: checkpoint.tokenizer)


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


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    *,
    foreword_step: LayerStep,
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
    return foreword_step.attend(call, query[0], key[0], value[0]).unsqueeze(0), None


class _Probe:
    """A LayerStep without memory: records what each layer passes. ``entered``: the layer that a pass is in."""

    def __init__(self) -> None:
        self.entered: tuple[torch.nn.Module, dict[str, Any]] = torch.nn.Module(), {}
        self.probed: list[ProbedLayer] = []

    def attend(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See LayerStep."""
        shape = LayerShape(keys.shape[0], keys.shape[-1], values.shape[-1])
        self.probed.append(ProbedLayer(AttentionLayer(call, shape, query.shape[0]), *self.entered))
        return query.new_zeros(query.shape[1], query.shape[0], values.shape[-1])

    def enter(self, module: torch.nn.Module, _: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        """A pre-hook of a layer."""
        self.entered = module, arguments


def _probe(module: Any, expected: int) -> list[ProbedLayer]:
    """Run two tokens and see which layers attend, how, and what they are given."""
    kind, probe = type(module).__name__, _Probe()
    lists = [child for child in module.modules() if isinstance(child, torch.nn.ModuleList)]
    hooks = [layer.register_forward_pre_hook(probe.enter, with_kwargs=True) for layers in lists for layer in layers]
    try:
        with torch.inference_mode():
            run_tokens(module, torch.zeros(2, dtype=torch.long), torch.arange(2) + 5, probe)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{kind} cannot be served: its code does not take our attention ({error}). Served: {SERVED}."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    seen = [layer.attention.call.layer for layer in probe.probed]
    if seen != list(range(expected)):
        raise ModelError(
            f"{kind} cannot be served: of its {expected} layers, attention was called by layers {seen}; each must "
            f"call it exactly once (recurrent and hybrid models do not). Served: {SERVED}."
        )
    probed, probe.probed, probe.entered = probe.probed, [], (torch.nn.Module(), {})  # the step is among the arguments
    return probed


def run_tokens(module: Any, ids: torch.Tensor, positions: torch.Tensor, step: LayerStep) -> None:
    """A forward pass over ``ids`` [rows] at ``positions`` [rows], for what it does to the step."""
    module(input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=1, foreword_step=step)


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
    text = config.get_text_config()
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

"""What a model of transformers asks of attention, found out by running a few tokens through it.

Our attention and our mask stand in transformers' registers under one name. While a probe runs they record what each layer
asks for; while a step runs they attend.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from foreword.backends.base import AttentionLayer, LayerCall, LayerShape, ProbedLayer, current_step
from foreword.engine.forward import run_model
from foreword.engine.masks import MaskFunction, Sight, mask_of, sight_of
from foreword.engine.query_scales import scaled, take_over
from foreword.errors import ModelError
from foreword.weights.checkpoint import SERVED

ATTENTION_NAME = "foreword"
NOT_CAUSAL = "its tokens see those behind them, so it is no causal decoder"
UNLIKE = "what its tokens see is neither all before them, nor a window, nor a chunk"
CALL = "foreword_call"
"""The attribute of an attention module that holds what a probe has found out about it."""


def register() -> None:
    """Make our attention known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION_NAME, attention_forward)
    AttentionMaskInterface.register(ATTENTION_NAME, mask_forward)


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """The function that transformers' layers call. Tensors are [1, heads, rows, size]; returns [1, rows, heads, size]."""
    step, known, query = current_step(), getattr(module, CALL, None), scaled(module, query)
    if known is None:
        if is_causal is False:
            raise ModelError(NOT_CAUSAL)
        known = LayerCall(
            layer=int(module.layer_idx),  # type: ignore[arg-type]
            scaling=float(scaling if scaling is not None else query.shape[-1] ** -0.5),
            window=sliding_window,
            softcap=softcap,
            sinks=None if s_aux is None else tuple(s_aux.detach().float().reshape(-1).tolist()),
        )
        if isinstance(step, Probe):
            known = step.note(module, known, attention_mask)
    return step.attend(known, query[0], key[0], value[0]).unsqueeze(0), None


def mask_forward(*, q_length: int, kv_length: int, mask_function: MaskFunction, **_: Any) -> torch.Tensor | None:
    """The function that transformers makes masks by. None: our attention needs none."""
    step = current_step()
    if not isinstance(step, Probe) or not step.context:
        return None
    return step.mask(mask_function, q_length, kv_length)


@dataclass
class Probe:
    """A LayerStep without memory: records what each layer passes. ``entered``: the layer that a pass is in; ``context``: up
    to
    where masks are asked what they let tokens see, 0: not at all."""

    context: int
    entered: tuple[torch.nn.Module, dict[str, Any]] = field(default_factory=lambda: (torch.nn.Module(), {}))
    probed: list[ProbedLayer] = field(default_factory=list)
    modules: list[torch.nn.Module] = field(default_factory=list)
    masks: list[tuple[torch.Tensor, Sight | None]] = field(default_factory=list)

    def attend(self, call: LayerCall, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See LayerStep."""
        shape = LayerShape(keys.shape[0], keys.shape[-1], values.shape[-1])
        self.probed.append(ProbedLayer(AttentionLayer(call, shape, query.shape[0]), *self.entered))
        return query.new_zeros(query.shape[1], query.shape[0], values.shape[-1])

    def enter(self, module: torch.nn.Module, _: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        """A pre-hook of a layer."""
        self.entered = module, arguments

    def note(self, module: torch.nn.Module, call: LayerCall, mask: torch.Tensor | None) -> LayerCall:
        """What a layer asks for, its mask told: a window or a chunk may be in the mask alone."""
        self.modules.append(module)
        for made, sight in self.masks:
            if mask is not None and mask.data_ptr() == made.data_ptr():
                if sight is None:
                    raise ModelError(UNLIKE if bool(made[0, 0].tril().equal(made[0, 0])) else NOT_CAUSAL)
                return replace(call, window=sight.window, chunk=sight.chunk)
        return call

    def mask(self, function: MaskFunction, queries: int, keys: int) -> torch.Tensor:
        """The mask [1, 1, queries, keys] of a function; remembers what it lets tokens see."""
        made = mask_of(function, queries, keys)
        with suppress(IndexError):  # a mask that is told of the prompt's own tokens says nothing about longer ones
            self.masks.append((made, sight_of(function, self.context)))
        return made


def probe_layers(module: Any, expected: int, context: int) -> list[ProbedLayer]:
    """Run a few tokens and see which layers attend, how, and what they are given: at positions near the beginning and near
    the end of the context, for some layers turn and scale by them. ModelError for a model that cannot be served."""
    kind = type(module).__name__
    take_over(module)
    near = _run(module, kind, Probe(context), torch.tensor([5, 6]))
    seen = [layer.attention.call.layer for layer in near.probed]
    if seen != list(range(expected)):
        raise ModelError(f"{kind} cannot be served: {_in_words(seen, expected)}. Served: {SERVED}.")
    calls = {attention: layer.attention.call for attention, layer in zip(near.modules, near.probed, strict=True)}
    for attention, call in calls.items():
        setattr(attention, CALL, call)
    far = _run(module, kind, Probe(0), torch.tensor([1, context // 2, context - 2, context - 1]).clamp(min=0))
    return [replace(layer, attention=first.attention) for layer, first in zip(far.probed, near.probed, strict=True)]


def _run(module: Any, kind: str, probe: Probe, positions: torch.Tensor) -> Probe:
    lists = [child for child in module.modules() if isinstance(child, torch.nn.ModuleList)]
    hooks = [layer.register_forward_pre_hook(probe.enter, with_kwargs=True) for layers in lists for layer in layers]
    try:
        with torch.inference_mode():
            run_model(module, torch.zeros_like(positions), positions, torch.arange(len(positions)), probe)
    except ModelError as error:
        raise ModelError(f"{kind} cannot be served: {str(error).rstrip('.')}. Served: {SERVED}.") from error
    except Exception as error:
        raise ModelError(
            f"{kind} cannot be served: its code does not take our attention ({error}). Served: {SERVED}."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    probe.entered = torch.nn.Module(), {}
    return probe


def _in_words(layers: Sequence[int], expected: int) -> str:
    if not layers:
        return "none of its layers calls transformers' attention interface: they attend by code of their own, or not at all"
    return (
        f"of its {expected} layers, attention was called by layers {list(layers)}; each must call it exactly once "
        f"(recurrent and hybrid models do not)"
    )

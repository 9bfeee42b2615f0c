"""Is what we compute what transformers computes? Asked of a model when it is loaded the first time.

The model's logits by our attention are compared with those of transformers' own code: for a prompt that is longer than every
window, at the beginning of the context and at its end; in one piece, and in chunks beside a neighbour, for a layer may keep
more of a text than keys and values. Of a large model a twin is asked: its first layers, of every kind that it has, with
short windows and the model's own weights. Then the layers are packed, and the whole is compared with itself as it was
before.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foreword.backends.base import AttentionStep, Backend, LayerShape, ProbedLayer, Span
from foreword.backends.registry import make_backend
from foreword.engine.forward import run_model
from foreword.engine.probe import ATTENTION_NAME, probe_layers
from foreword.engine.query_scales import counts_by_itself
from foreword.errors import ModelError
from foreword.weights.checkpoint import SERVED

TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest of their row."""
PROMPT, NEIGHBOUR = 96, 41
"""Tokens of a prompt at least, and of the one beside it."""
BEYOND = 40
"""By so many tokens a prompt is longer than the longest window."""
CUTS = (1, 23, 50)
"""Where prompts are cut into chunks."""
LARGE = 30_000_000
"""Weights of a model that is asked by a twin."""
SHORT_WINDOW = 32
FEW_TOKENS = 16
"""Of a large model, to be compared with itself before and after its layers are packed."""
EXACT = "float32"
WINDOWS = ("sliding_window", "attention_chunk_size")
"""What configurations call them."""


@dataclass(frozen=True)
class Computed:
    """Some tokens, and the logits [tokens, vocabulary] that a model gave for them before its layers were packed."""

    ids: torch.Tensor
    logits: torch.Tensor


def check_model(module: Any, probed: Sequence[ProbedLayer], backend: Backend[Any], context: int) -> Computed:
    """Compare a model, its layers not packed yet, with transformers' own code; what is left to be compared with later.

    ModelError for a model that computes something else. Keys and values are kept in float32 for this.
    """
    options = backend.options
    if options.kv_dtype != EXACT:
        backend = make_backend(options.name, options.block_size, kernel_folder=options.kernel_folder)
    large = sum(weight.numel() for weight in module.parameters()) > LARGE
    twin = twin_of(module, probed, context) if large else None
    asked, layers = (module, probed) if twin is None else twin
    _compare(asked, layers, backend, context)
    ids = _tokens(module, min(context, FEW_TOKENS if large else PROMPT), seed=0)
    shapes = [layer.attention.shape for layer in probed]
    return Computed(ids, _ours(module, shapes, backend, [[(ids, 0, len(ids))]], 0)[0])


def check_packed(kind: str, module: Any, shapes: Sequence[LayerShape], backend: Backend[Any], before: Computed) -> None:
    """Compare a model with itself before its layers were packed. ModelError where they differ, or it cannot be run; where
    weights, or keys and values, are rounded, only the latter."""
    ids = before.ids
    try:
        logits = _ours(module, shapes, backend, [[(ids, 0, len(ids))]], 0)[0]
    except Exception as error:
        raise ModelError(
            f"{kind} cannot be served: its code does not take our layers ({_line(error)}). Served: {SERVED}."
        ) from error
    exact = backend.describe().weight_bits == 32 and backend.options.kv_dtype == EXACT
    if exact and (off := _difference(logits, before.logits)) > TOLERANCE:
        raise ModelError(
            f"{kind} cannot be served: with our layers its logits are off by {off:.1e} of the largest, where "
            f"{TOLERANCE:.0e} is allowed. Served: {SERVED}."
        )


def bits_of_chunks_differ(module: Any, shapes: Sequence[LayerShape], backend: Backend[Any], vocab_size: int) -> bool:
    """Whether a model's logits for a prompt depend on its chunks and on what is computed beside it, in any bit."""
    random = torch.Generator().manual_seed(0)
    ids = [torch.randint(vocab_size, (count,), generator=random) for count in (PROMPT, NEIGHBOUR)]
    whole = [_ours(module, shapes, backend, [[(each, 0, len(each))]], 0)[0] for each in ids]
    beside = _ours(module, shapes, backend, [[(each, 0, len(each)) for each in ids]], 0)
    chunked = _ours(module, shapes, backend, _steps(ids), 0)
    return not all(torch.equal(one, other) for parts in (beside, chunked) for one, other in zip(parts, whole, strict=True))


def _compare(module: Any, probed: Sequence[ProbedLayer], backend: Backend[Any], context: int) -> None:
    """ModelError unless both agree. A choice between experts may hang on the last bit of a number, and then all that follows
    does; so another prompt has a say before a model is refused."""
    kind, shapes = type(module).__name__, [layer.attention.shape for layer in probed]
    windows = [size for layer in probed for size in (layer.attention.call.window, layer.attention.call.chunk) if size]
    count = min(context, max(PROMPT, *windows, 0) + BEYOND)
    for begin in (0,) if counts_by_itself(module) else (0, context - count):
        reasons = []
        for seed in (1, 2):
            ids = [_tokens(module, count, seed), _tokens(module, min(NEIGHBOUR, count), seed + 2)]
            if not (reason := _differs(module, shapes, backend, ids, begin)):
                break
            reasons.append(reason)
        else:
            raise ModelError(f"{kind} cannot be served: {reasons[0]}. Served: {SERVED}.")


def _differs(module: Any, shapes: Sequence[LayerShape], backend: Backend[Any], ids: list[torch.Tensor], begin: int) -> str:
    """In what our logits for prompts differ from transformers', in words; empty if they do not."""
    expected = [_theirs(module, each, begin) for each in ids]
    whole = [_ours(module, shapes, backend, [[(each, 0, len(each))]], begin)[0] for each in ids]
    off = max(_difference(one, other) for one, other in zip(whole, expected, strict=True))
    if not off <= TOLERANCE:
        return (
            f"for a prompt of {len(ids[0])} tokens from position {begin} on, its logits are off by {off:.1e} of the largest "
            f"from those of transformers' own code, where {TOLERANCE:.0e} is allowed; its attention asks for something that "
            f"ours does not do"
        )
    chunked = _ours(module, shapes, backend, _steps(ids), begin)
    off = max(_difference(one, other) for one, other in zip(chunked, expected, strict=True))
    if not off <= TOLERANCE:
        return (
            f"in chunks, beside another prompt, its logits are off by {off:.1e} of the largest, where {TOLERANCE:.0e} is "
            f"allowed; its layers keep more of a text than keys and values, or do not take the positions that they are given"
        )
    return ""


def _steps(ids: list[torch.Tensor]) -> list[list[tuple[torch.Tensor, int, int]]]:
    """Of prompts, which tokens each step computes: chunk by chunk, all prompts side by side while they last."""
    cuts = [0, *CUTS, max(len(each) for each in ids) - 1, max(len(each) for each in ids)]
    steps = [
        [(each, first, min(last, len(each))) for each in ids if first < len(each)]
        for first, last in itertools.pairwise(cuts)
        if first < last
    ]
    return [step for step in steps if step]


def _ours(
    module: Any,
    shapes: Sequence[LayerShape],
    backend: Backend[Any],
    steps: list[list[tuple[torch.Tensor, int, int]]],
    begin: int,
) -> list[torch.Tensor]:
    """Logits [tokens, vocabulary] of each prompt, its tokens having positions from ``begin`` on, computed step by step."""
    size = backend.options.block_size
    prompts = {id(ids): ids for step in steps for ids, _, _ in step}
    blocks = {name: -(-len(ids) // size) for name, ids in prompts.items()}
    firsts = dict(zip(blocks, np.cumsum([0, *blocks.values()]).tolist(), strict=False))
    tables = {name: np.arange(firsts[name], firsts[name] + count, dtype=np.int32) for name, count in blocks.items()}
    memory = backend.make_memory(shapes, sum(blocks.values()))
    found: dict[int, list[torch.Tensor]] = {name: [] for name in prompts}
    for step in steps:
        counts = [last - first for _, first, last in step]
        rows = np.cumsum([0, *counts]).tolist()
        spans = [Span(row, first, last, tables[id(ids)]) for row, (ids, first, last) in zip(rows, step, strict=False)]
        padding = [torch.zeros(rows[-1] % 2, dtype=torch.long)]
        given = torch.cat([ids[first:last] for ids, first, last in step] + padding)
        places = torch.cat([torch.arange(begin + first, begin + last) for _, first, last in step] + padding)
        attention = AttentionStep.of(backend.attention, memory, spans, len(given))
        with torch.inference_mode():
            logits = run_model(module, given, places, torch.arange(rows[-1]), attention)
        for (ids, _, _), part in zip(step, torch.split(logits, counts), strict=True):
            found[id(ids)].append(part.clone())
    return [torch.cat(parts) for parts in found.values()]


def _theirs(module: Any, ids: torch.Tensor, begin: int) -> torch.Tensor:
    """Logits [tokens, vocabulary] by transformers' own attention."""
    module.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            places = torch.arange(begin, begin + len(ids))
            out: torch.Tensor = module(input_ids=ids[None], position_ids=places[None], use_cache=False).logits[0]
    except Exception as error:
        kind = type(module).__name__
        raise ModelError(f"{kind} cannot be served: transformers' own code does not run it ({_line(error)}).") from error
    finally:
        module.set_attn_implementation(ATTENTION_NAME)
    if not bool(out.isfinite().all()):
        raise ModelError(
            f"{type(module).__name__} cannot be served: by transformers' own code its logits are no numbers (NaN or inf). "
            f"Check the weights, and in config.json the rope and the epsilon of the norms."
        )
    return out


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative to the largest number of a row; inf where there is none to compare."""
    if one.shape != other.shape or not bool(one.isfinite().all()):
        return float("inf")
    return float(((one - other).abs().amax(-1) / other.abs().amax(-1)).max())


def _tokens(module: Any, count: int, seed: int) -> torch.Tensor:
    """Random ids, but none that stands for something else than text."""
    text = module.config.get_text_config()
    told = {**module.config.to_dict(), **text.to_dict()}
    special = {value for name, value in told.items() if name.endswith(("_token_id", "_token_index"))
               and isinstance(value, int)}  # fmt: skip
    size = int(text.vocab_size)
    usual = torch.tensor([each for each in range(min(size, 4096)) if each not in special] or [0])
    return usual[torch.randint(len(usual), (count,), generator=torch.Generator().manual_seed(seed))]


def twin_of(module: Any, probed: Sequence[ProbedLayer], context: int) -> tuple[Any, Sequence[ProbedLayer]] | None:
    """The first layers of a model, of every kind that it has, with short windows and its own weights, and these layers as
    probed; None where one cannot be made."""
    kinds = [_kind_of(layer) for layer in probed]
    count = max(2, 1 + max(kinds.index(kind) for kind in set(kinds)))
    config = copy.deepcopy(module.config)
    text = config.get_text_config()
    try:
        for name, value in list(vars(text).items()):
            if isinstance(value, list) and len(value) == len(probed):
                setattr(text, name, value[:count])
        text.num_hidden_layers = count
        for name in WINDOWS:
            if isinstance(size := getattr(text, name, None), int) and size > SHORT_WINDOW:
                setattr(text, name, SHORT_WINDOW)
        with torch.device("meta"):
            twin = type(module)(config).eval()
        _share(module, twin)
        twin.set_attn_implementation(ATTENTION_NAME)
        return twin, probe_layers(twin, count, context)
    except (AttributeError, KeyError, TypeError, ValueError, ModelError):
        return None


def _kind_of(layer: ProbedLayer) -> tuple[Any, ...]:
    """What tells layers apart, but for their numbers."""
    call = layer.attention.call
    parts = tuple((name, type(child).__name__) for name, child in layer.module.named_modules())
    return (call.scaling, call.window, call.softcap, call.chunk, call.sinks is None, layer.attention.shape, parts)


def _share(module: Any, twin: Any) -> None:
    """Give a model made without memory the weights of another. AttributeError where they do not fit."""
    for name, child in list(twin.named_modules()):
        own = [*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)]
        if not own:
            continue
        source = module.get_submodule(name)
        if name and not list(child.children()):
            twin.set_submodule(name, source)
            continue
        for key, value in own:
            if getattr(source, key).shape != value.shape:
                raise AttributeError(f"{name}.{key}")
            setattr(child, key, getattr(source, key))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

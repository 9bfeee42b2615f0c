"""From options to an engine: the parts of a real model, and how they are put together."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from foreword.backends.base import Backend
from foreword.backends.registry import cache_folder, make_backend
from foreword.cache import PrefixCache
from foreword.config import require
from foreword.engine.cache_verifier import CacheVerifier
from foreword.engine.config import EngineConfig
from foreword.engine.drafting import make_drafting
from foreword.engine.engine import Engine
from foreword.engine.file_defaults import defaults_in_words, sampling_defaults
from foreword.engine.findings import Starts
from foreword.engine.fingerprint import model_fingerprint
from foreword.engine.info import EngineInfo
from foreword.engine.model import LoadedModel, load_model
from foreword.engine.model_runner import ModelRunner
from foreword.engine.model_text import ModelText
from foreword.engine.open_stores import TierOpener, check_store_options, open_stores
from foreword.engine.runner import Runner
from foreword.engine.self_test import SelfTest, run_self_test
from foreword.engine.tier import Tier
from foreword.events import EventRelay, EventSink
from foreword.sched import Scheduler
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.opening import open_checkpoint

logger = logging.getLogger("foreword")

ModelLoader = Callable[[Checkpoint, Backend[Any]], LoadedModel]
"""load_model, or what stands in for it."""


@dataclass(frozen=True)
class EngineParts:
    """The parts of one engine over a real model, not yet put together. ``self_test`` is None where it was not asked for."""

    config: EngineConfig
    info: EngineInfo
    model: LoadedModel
    text: ModelText
    runner: ModelRunner
    cache: PrefixCache
    scheduler: Scheduler
    events: EventRelay
    self_test: SelfTest | None
    tier: Tier | None = None

    def engine(
        self,
        events: EventSink | None = None,
        clock: Callable[[], float] = time.monotonic,
        runner: Runner | None = None,
    ) -> Engine:
        """The engine of these parts, to be made once. ``runner`` stands before the parts' own: it records, or breaks."""
        if events is not None:
            self.events.add(events)
        config, share = self.config, self.config.verify_cache
        return Engine(
            self.scheduler,
            runner or self.runner,
            self.info,
            self.text,
            events=self.events,
            clock=clock,
            verifier=CacheVerifier(share, self.cache, self.runner, config.max_num_batched_tokens) if share else None,
            tier=self.tier,
            drafting=None if config.draft == "off" else make_drafting(self.cache, self.info.vocab_size),
            seed=config.seed,
        )


def build_engine(
    config: EngineConfig, events: EventSink | None = None, clock: Callable[[], float] = time.monotonic
) -> Engine:
    """An engine with its model. ConfigError for options that do not fit it, ModelError for a model that cannot be served."""
    return make_parts(config).engine(events, clock)


def make_parts(config: EngineConfig, load: ModelLoader | None = None, open_tier: TierOpener = open_stores) -> EngineParts:
    """Load a model and make what its engine consists of; logs what there is, and tests the machine if that is asked for.

    With ``load`` nothing is taken from earlier starts, and nothing left for later ones.
    """
    check_store_options(config)
    folder = cache_folder(config.kernel_cache_dir, os.environ, "kernels")
    backend = make_backend(
        config.backend,
        config.block_size,
        config.kv_dtype,
        config.quantization,
        folder,
        config.kernel_path,
        config.activation_bits,
    )
    checkpoint, starts = open_checkpoint(config.model), cache_folder(config.start_cache_dir, os.environ, "starts")
    if load is None and starts is not None:
        model, self_test = Starts(starts).start(checkpoint, backend, config.self_test, config.max_model_len)
    else:
        model = (load or partial(load_model, max_model_len=config.max_model_len))(checkpoint, backend)
        self_test = run_self_test(model, backend) if config.self_test else None
    max_model_len = _max_model_len(config.max_model_len, model)
    block_bytes, room = backend.block_bytes(model.shapes), backend.device_memory()
    num_blocks = config.num_blocks(block_bytes, max_model_len, room.free, room.total)
    memory = backend.make_memory(model.shapes, num_blocks)
    info = EngineInfo(
        model_name=model.name,
        max_model_len=max_model_len,
        vocab_size=model.vocab_size,
        num_blocks=num_blocks,
        block_size=config.block_size,
        bytes_per_token=block_bytes / config.block_size,
        max_num_seqs=config.max_num_seqs,
        prefix_caching=config.enable_prefix_caching,
        end_token_ids=frozenset(token for token in model.eos_token_ids if 0 <= token < model.vocab_size),
        fingerprint=model_fingerprint(model, backend, self_test is not None and self_test.passed),
        default_sampling=sampling_defaults(checkpoint.text_files() if config.generation_config == "auto" else {}),
    )
    events = EventRelay()
    tier = open_tier(config, info.fingerprint, memory.pieces, num_blocks)
    cache = PrefixCache(config.cache_config(num_blocks, stores=tier is not None), events=events)
    parts = EngineParts(
        config=config,
        info=info,
        model=model,
        text=model.text.bounded(max_model_len),
        runner=ModelRunner(model, memory, backend),
        cache=cache,
        scheduler=Scheduler(config.scheduler_config(), cache),
        events=events,
        self_test=self_test,
        tier=tier,
    )
    _log(parts)
    return parts


def _max_model_len(asked: int | None, model: LoadedModel) -> int:
    """Prompt and answer together; ConfigError for more than the model was made for."""
    require(
        asked is None or asked <= model.max_context,
        f"max_model_len is {asked}, but by its files the model {model.name!r} takes {model.max_context} tokens. Ask for at "
        f"most that, or give config.json a rope that stretches it: rope_parameters of type 'yarn', with a factor.",
    )
    return asked or model.max_context


def _log(parts: EngineParts) -> None:
    info, description = parts.info, parts.runner.backend.describe()
    logger.info(
        "Model %s: context %d tokens. KV cache: %d tokens in %d blocks of %d, %.0f MiB. "
        "Any shared prefix is reused to the token; there is no minimum.",
        info.model_name, info.max_model_len, info.cache_tokens, info.num_blocks, info.block_size,
        info.cache_tokens * info.bytes_per_token / 2**20,
    )  # fmt: skip
    if defaults := defaults_in_words(info.default_sampling):
        logger.info(
            "Sampling by the model's generation_config.json: %s. A server takes that where a request says nothing; "
            "generation_config=none (--generation-config none) switches it off.", defaults,
        )  # fmt: skip
    logger.info("Computing with %s.", description.words)
    for warning in description.warnings:
        logger.warning("%s", warning)
    if parts.self_test is not None:
        logger.log(logging.INFO if parts.self_test.passed else logging.WARNING, "%s", parts.self_test.message)

"""Engines for tests: each model is loaded once, and something may stand between an engine and its runner."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.models import load_once
from foreword.cache import CopyBlock
from foreword.engine import Engine, EngineConfig, EngineRequest, RequestOutput, SamplingParams
from foreword.engine.build import EngineParts, make_parts
from foreword.engine.open_stores import TierOpener, open_stores
from foreword.engine.runner import Runner, Sampled, Step
from foreword.events import EventSink
from foreword.tokens import pack_tokens, unpack_tokens

Hook = Callable[[Step, Callable[[Step], list[Sampled]]], list[Sampled]]
"""Given a step and what would run it."""


class Interposed:
    """Stands before a runner. ``hook`` sees every step, and may change, delay or break it; None: nothing does."""

    def __init__(self, runner: Runner):
        self.runner = runner
        self.hook: Hook | None = None

    def carry_out(self, actions: Sequence[CopyBlock]) -> None:
        self.runner.carry_out(actions)

    def run(self, step: Step) -> list[Sampled]:
        return self.runner.run(step) if self.hook is None else self.hook(step, self.runner.run)


@dataclass(frozen=True)
class Made:
    """An engine, what it is made of, and the place before its runner."""

    engine: Engine
    parts: EngineParts
    runner: Interposed


def make(
    config: EngineConfig,
    events: EventSink | None = None,
    clock: Callable[[], float] = time.monotonic,
    open_tier: TierOpener = open_stores,
) -> Made:
    """An engine whose model is loaded once."""
    parts = make_parts(config, load_once, open_tier)
    runner = Interposed(parts.runner)
    return Made(parts.engine(events, clock, runner), parts, runner)


def add(engine: Engine, prompt: Sequence[int], params: SamplingParams, **more: Any) -> str:
    """Queue a prompt of token ids; returns the request's id."""
    return engine.add_request(EngineRequest(pack_tokens(prompt), params, **more)).request_id


def step(engine: Engine) -> list[RequestOutput]:
    """One step; whole outputs of what has news."""
    return [generation.output() for generation in engine.step().news]


def finish(engine: Engine) -> dict[str, RequestOutput]:
    """Step to the end, checking the books after every step; the last outputs by request id."""
    outputs = {}
    while engine.has_unfinished_requests():
        outputs.update({output.request_id: output for output in step(engine)})
        engine.check_integrity()
    return outputs


def token_ids(engine: Engine, text: str) -> list[int]:
    """The tokens of a prompt that is written out."""
    return unpack_tokens(engine.text.tokenizer.tokens(text, add_special_tokens=True))

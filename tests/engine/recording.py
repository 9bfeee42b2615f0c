"""An engine that keeps the logits it sampled from and the KV it worked with, for comparing bits."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from engine.making import Interposed, add
from engine.models import load_once
from foreword.engine import EngineConfig, RequestOutput, SamplingParams
from foreword.engine.build import make_parts
from foreword.engine.runner import Step, StepChunk
from foreword.tokens import pack_tokens


@dataclass
class Trace:
    """What one request computed: logits by position of the token they follow, and KV of all its known tokens.

    behind
        By position all tokens up to there, which may have been drafted.
    """

    logits: dict[int, torch.Tensor] = field(default_factory=dict)
    behind: dict[int, bytes] = field(default_factory=dict)
    kv: list[torch.Tensor] = field(default_factory=list)
    output: RequestOutput | None = None

    def end(self, output: RequestOutput) -> None:
        """The request has ended: logits behind what was drafted and is not in its answer are nobody's."""
        self.output = output
        whole = pack_tokens([*(output.prompt_token_ids or ()), *output.outputs[0].token_ids])
        self.logits = {at: row for at, row in self.logits.items() if whole.startswith(self.behind[at])}


class RecordingEngine:
    """Wraps an Engine; ``traces`` by request id."""

    def __init__(self, model: str, **options: Any):
        options.setdefault("self_test", False)
        parts = make_parts(EngineConfig(model=model, **options), load_once)
        parts.runner.sinks.append(self._record)
        self.runner = Interposed(parts.runner)
        self.engine = parts.engine(runner=self.runner)
        self.traces: dict[str, Trace] = {}
        self._memory = parts.runner.memory

    def _record(self, step: Step, logits: list[torch.Tensor]) -> None:
        for chunk, rows in zip(step.chunks, logits, strict=True):
            trace = self.traces.setdefault(chunk.request_id, Trace())
            known = np.concatenate((chunk.tokens[: chunk.end - len(chunk.draft)], np.array(chunk.draft, np.int32)))
            for position, row in enumerate(rows.clone(), start=len(known) - len(rows)):
                trace.logits[position], trace.behind[position] = row, known[: position + 1].tobytes()
            trace.kv = self._read_kv(chunk)

    def _read_kv(self, chunk: StepChunk) -> list[torch.Tensor]:
        """Keys and values of all layers for the known tokens of a request up to the end of a chunk that was computed."""
        at, size = np.arange(chunk.end - len(chunk.draft)), self._memory.block_size
        slots = torch.from_numpy(chunk.blocks[at // size].astype(np.int64) * size + at % size)
        return [part for layer in range(len(self._memory.layers)) for part in self._memory.read(layer, slots)]

    def step(self) -> None:
        for generation in self.engine.step().news:
            if generation.finished:
                self.traces.setdefault(generation.request_id, Trace()).end(generation.output())

    def run(self, *prompts: list[int], **params: Any) -> list[Trace]:
        """Run prompts to the end, together."""
        params = {"temperature": 0.0, "max_tokens": 4, "ignore_eos": True, **params}
        ids = [add(self.engine, prompt, SamplingParams(**params)) for prompt in prompts]
        while self.engine.has_unfinished_requests():
            self.step()
        return [self.traces[request_id] for request_id in ids]

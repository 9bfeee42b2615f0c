"""An engine that keeps the logits it sampled from and the KV it worked with, for comparing bits."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from foreword.engine import Engine, EngineConfig, RequestOutput, SamplingParams


@dataclass
class Trace:
    """What one request computed: logits by position of the token they follow, and KV of all its tokens."""

    logits: dict[int, torch.Tensor] = field(default_factory=dict)
    kv: list[torch.Tensor] = field(default_factory=list)
    output: RequestOutput | None = None


class RecordingEngine:
    """Wraps an Engine; ``traces`` by request id."""

    def __init__(self, model: str, **options: Any):
        options.setdefault("self_test", False)
        self.engine = Engine(EngineConfig(model=model, **options))
        self.traces: dict[str, Trace] = {}
        run, finish = self.engine.runner.run, self.engine.scheduler.finish

        def recorded_run(plan: Any, every_row: Any = ()) -> Any:
            out = run(plan, every_row)
            for chunk in out:
                trace = self.traces.setdefault(chunk.chunk.request.request_id, Trace())
                first = chunk.chunk.end - len(chunk.logits)
                trace.logits.update(enumerate(chunk.logits.clone(), start=first))
            return out

        def recorded_finish(request: Any, now: float) -> None:
            if request.reservation is not None:
                self.traces.setdefault(request.request_id, Trace()).kv = self.read_kv(request)
            finish(request, now)

        self.engine.runner.run = recorded_run  # type: ignore[method-assign]
        self.engine.scheduler.finish = recorded_finish  # type: ignore[method-assign]

    def read_kv(self, request: Any) -> list[torch.Tensor]:
        """Keys and values of all layers for the tokens of a running request that are computed."""
        at = np.arange(request.reservation.computed)
        memory = self.engine.runner.memory
        slots = request.reservation.table[at // memory.block_size] * memory.block_size + at % memory.block_size
        at_slots = torch.from_numpy(slots).long()
        return [part for layer in range(len(memory.layers)) for part in memory.read(layer, at_slots)]

    def step(self) -> list[RequestOutput]:
        outputs = self.engine.step()
        for output in outputs:
            if output.finished:
                self.traces.setdefault(output.request_id, Trace()).output = output
        return outputs

    def run(self, *prompts: list[int], **params: Any) -> list[Trace]:
        """Run prompts to the end, together."""
        params = {"temperature": 0.0, "max_tokens": 4, "ignore_eos": True, **params}
        ids = [self.engine.add_request(prompt, SamplingParams(**params)) for prompt in prompts]
        while self.engine.has_unfinished_requests():
            self.step()
        return [self.traces[request_id] for request_id in ids]

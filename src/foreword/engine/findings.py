"""What a start has found out about a model on this machine, kept for the next start: what it checked, and how to build it.

A start asks transformers what a model is, compares what we compute with what it does, and tests that bits do not depend on
the batch. All that depends on the files, the code, the versions of the libraries, the processor, the threads and the
options; so it is kept under a digest of these, and found out anew when one of them differs. What is built from findings is
checked before it is used: for a fixed prompt it must give the very bits, KV and logits, that were found.
"""

import json
import logging
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch

from foreword.backends.base import AttentionStep, Backend, Span
from foreword.backends.code_digest import code_digest, digest_of
from foreword.backends.kept_files import KeptFiles
from foreword.engine.forward import run_model
from foreword.engine.model import LoadedModel, described_text, install, load_model
from foreword.engine.model_text import ModelText, TextNotes
from foreword.engine.plain_model import PlainPlan, build_plain, over_parts
from foreword.engine.self_test import SelfTest, run_self_test
from foreword.errors import ModelError
from foreword.weights.checkpoint import Checkpoint

logger = logging.getLogger("foreword")

SAMPLE_TOKENS = 32
STEP = 7919
"""A prime: token ids of the sample are its multiples, modulo the vocabulary."""
MAX_BYTES = 64 * 2**20
"""Of all findings together. Those of a model take some kB, and its tokenizer where that is not as its file has it."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "llvmlite", "numpy")
CODE = ("backends", "engine", "weights", "prompt", "cache")
"""Folders whose code findings depend on."""
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Findings:
    """What is kept.

    plan, text
        How to build the model and its words without transformers; None: it is of another shape, or, for the words, they are
        in its files.
    max_context, vocab_size, eos_token_ids, rope
        As LoadedModel has them.
    sample
        Digest of the KV and logits of a fixed prompt.
    tested
        The day on which the self-test has passed; empty: it has not, or was not asked for.
    """

    plan: PlainPlan | None
    text: TextNotes | None
    max_context: int
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    rope: str
    sample: str
    tested: str

    def to_json(self) -> bytes:
        """For a file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Findings":
        """What ``to_json`` gave."""
        found = json.loads(content)
        plan, text, ends = found.pop("plan"), found.pop("text"), tuple(found.pop("eos_token_ids"))
        return cls(
            plan=None if plan is None else PlainPlan.from_fields(plan),
            text=None if text is None else TextNotes(**text),
            eos_token_ids=ends,
            **found,
        )


class Starts:
    """The starts of engines in one folder: each finds out what is not known yet."""

    def __init__(self, folder: Path):
        self._files = KeptFiles(folder, MAX_BYTES, "What earlier starts found")

    def start(
        self, checkpoint: Checkpoint, backend: Backend[Any], self_test: bool, max_model_len: int | None = None
    ) -> tuple[LoadedModel, SelfTest | None]:
        """The model, and the outcome of its self-test if that is wanted: as found by an earlier start where nothing that it
        depends on has changed."""
        key = findings_key(checkpoint, backend, max_model_len)
        kept = self._known(key)
        model = None if kept is None else _built(kept, checkpoint, backend)
        if kept is None or model is None:
            model = load_model(checkpoint, backend, max_model_len, checked=kept is not None)
            found = _found(model, checkpoint, backend)
            if kept is not None and kept.plan is not None:
                found = replace(found, plan=None, text=None)  # it did not hold, and would not the next time
            elif kept is not None and kept.sample == found.sample:
                found = replace(found, tested=kept.tested)
        else:
            found = kept
        tested = None
        if self_test and found.tested:
            tested = SelfTest((), 0.0, found.tested)
        elif self_test:
            tested = run_self_test(model, backend)
            found = replace(found, tested=time.strftime("%Y-%m-%d") if tested.passed else "")
        if found != kept:
            self._files.put(key, found.to_json())
        return model, tested

    def _known(self, key: str) -> Findings | None:
        content = self._files.get(key)
        return None if content is None else Findings.from_json(content)


def findings_key(checkpoint: Checkpoint, backend: Backend[Any], max_model_len: int | None = None) -> str:
    """Digest of all that findings depend on."""
    described, options = backend.describe(), replace(backend.options, kernel_folder=None)
    texts = [part for name, content in checkpoint.text_files().items() for part in (name.encode(), content)]
    told = (
        checkpoint.digest(), digest_of(texts), code_digest(CODE), *_versions(), repr(options), described.words,
        repr(described.numerics), _processor(), repr(max_model_len),
    )  # fmt: skip
    return digest_of(part.encode() for part in told)


@torch.inference_mode()
def sample(model: LoadedModel, backend: Backend[Any]) -> str:
    """Digest of the KV that fixed tokens leave in memory, at positions up to the context's last, and of their logits."""
    size = backend.options.block_size
    blocks = np.arange(-(-SAMPLE_TOKENS // size), dtype=np.int32)
    memory = backend.make_memory(model.shapes, len(blocks))
    positions = torch.arange(SAMPLE_TOKENS) * (model.max_context - 1) // (SAMPLE_TOKENS - 1)
    step = AttentionStep.of(backend.attention, memory, [Span(0, 0, SAMPLE_TOKENS, blocks)], SAMPLE_TOKENS)
    ids = torch.arange(SAMPLE_TOKENS) * STEP % model.vocab_size
    logits = run_model(model.module, ids, positions, torch.arange(SAMPLE_TOKENS), step)
    return digest_of([memory.read_blocks(blocks.tolist()).tobytes(), logits.float().contiguous().numpy().tobytes()])


def _found(model: LoadedModel, checkpoint: Checkpoint, backend: Backend[Any]) -> Findings:
    """What the loaded model shows. It has a plan if the plain model over its parts gives the same bits."""
    seen, plan = sample(model, backend), model.plan
    if plan is not None and not model.plain and sample(_over_parts(model, plan), backend) != seen:
        plan = None
    return Findings(
        plan=plan,
        text=None if plan is None or model.plain else _text(checkpoint),
        max_context=model.max_context,
        vocab_size=model.vocab_size,
        eos_token_ids=tuple(sorted(model.eos_token_ids)),
        rope=model.rope,
        sample=seen,
        tested="",
    )


def _over_parts(model: LoadedModel, plan: PlainPlan) -> LoadedModel:
    return replace(model, module=over_parts(plan, model.module))


def _text(checkpoint: Checkpoint) -> TextNotes:
    """Of the model's words; the tokenizer is left out where its file alone gives the same."""
    notes, file = TextNotes.of(checkpoint.tokenizer), checkpoint.text_files().get("tokenizer.json")
    same = file is not None and tokenizers.Tokenizer.from_str(file.decode()).to_str() == notes.tokenizer
    return replace(notes, tokenizer="") if same else notes


def _built(found: Findings, checkpoint: Checkpoint, backend: Backend[Any]) -> LoadedModel | None:
    """The model as the findings say, if it still gives the bits that were found."""
    if found.plan is None:
        return None
    try:
        with ThreadPoolExecutor(1) as beside:
            compiled = beside.submit(backend.warm_up)
            if (words := _words(found.text, checkpoint)) is None:
                return None
            module = build_plain(found.plan, checkpoint)
            compiled.result()
        layers, own_kernels = install(module, found.plan, checkpoint, backend)
    except ModelError as error:
        logger.warning("What an earlier start found out about this model does not hold, it is found out anew: %s", error)
        return None
    model = LoadedModel(
        name=checkpoint.name,
        module=module,
        text=words,
        layers=layers,
        max_context=found.max_context,
        vocab_size=found.vocab_size,
        eos_token_ids=frozenset(found.eos_token_ids),
        own_kernels=own_kernels,
        weights_digest=checkpoint.digest(),
        rope=found.rope,
        plan=found.plan,
        plain=True,
    )
    if sample(model, backend) == found.sample:
        return model
    logger.warning("This start does not give the bits of an earlier one, so nothing that it found out is trusted.")
    return None


def _words(notes: TextNotes | None, checkpoint: Checkpoint) -> ModelText | None:
    """Of a model that an earlier start has seen; None where they have to be found out anew."""
    if notes is None:
        described = checkpoint.described()
        return None if described is None else described_text(checkpoint, described)
    if not notes.tokenizer:
        notes = replace(notes, tokenizer=checkpoint.text_files()["tokenizer.json"].decode())
    return notes.model_text(lambda: checkpoint.tokenizer)


def _versions() -> Iterable[str]:
    return (f"{name} {metadata.version(name)}" for name in LIBRARIES)


def _processor() -> str:
    """Its name and features, as the system tells them of the first; what Python knows where the system does not."""
    try:
        lines = CPUINFO.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(
        line for line in lines if line.startswith(("vendor_id", "model", "stepping", "flags", "Features", "CPU "))
    )

"""The key of all that this engine computes: what a block's bits depend on besides its tokens, and a sample of those bits.

The sample, a canary, stands for whatever the bits depend on and nobody can list: the processor's vectors, the versions of
torch and LLVM, the number of threads. Unlike machines share blocks when their canaries are equal, and only then.

What a short prompt cannot show is in the key by name, or shown otherwise: how sums over long contexts are ordered
(``Numerics.order``); sines and cosines of every position, which the canary takes in directly. That a row's bits depend
neither on the other rows nor on how threads divide them holds by construction where layers are kernels of ours, and is seen
by the start-up self-test. Where one of the two is lacking, no prompt of a few rows stands for many rows in several threads
(torch's activations have another path for the rest of a cut), so versions and threads are in the key as well
(``Numerics.machine``).
"""

import hashlib
from typing import Any

import numpy as np
import torch

from foreword.backends.base import AttentionStep, Backend, Span
from foreword.cache import ModelFingerprint
from foreword.engine.forward import run_model
from foreword.engine.model import LoadedModel

CANARY_TOKENS = 32
STEP = 7919
"""A prime: token ids of the canary are its multiples, modulo the vocabulary."""


def model_fingerprint(model: LoadedModel, backend: Backend[Any], tested: bool) -> ModelFingerprint:
    """The key of an engine's blocks; ``tested``: whether the self-test has passed. Computes one short prompt."""
    options, numerics = backend.options, backend.describe().numerics
    memory = backend.make_memory(model.shapes, -(-CANARY_TOKENS // options.block_size))
    return ModelFingerprint(
        weights=model.weights_digest,
        kv_dtype=options.kv_dtype,
        quantization=f"{options.quantization}, activations of {options.activation_bits} bits",
        rope=model.rope,
        attention=f"{options.name}/{backend.attention.name}/{numerics.order}",
        layout=memory.layout,
        numerics="" if tested and model.own_kernels else numerics.machine,
        canary=canary(model, backend, memory),
        block_size=options.block_size,
    )


@torch.inference_mode()
def canary(model: LoadedModel, backend: Backend[Any], memory: Any) -> str:
    """Digest of the KV that fixed token ids leave in ``memory``, and of the sines and cosines of every position.

    The tokens' positions are spread over the model's whole context, so that rotations are seen that come late in a prompt.
    """
    blocks = np.arange(-(-CANARY_TOKENS // memory.block_size), dtype=np.int32)
    ids = torch.arange(CANARY_TOKENS) * STEP % model.vocab_size
    positions = torch.arange(CANARY_TOKENS) * (model.max_context - 1) // (CANARY_TOKENS - 1)
    spans = [Span(0, 0, CANARY_TOKENS, blocks)]
    step = AttentionStep.of(backend.attention, memory, spans, CANARY_TOKENS)
    run_model(model.module, ids, positions, torch.arange(1), step)
    digest = hashlib.sha256(memory.read_blocks(blocks.tolist()).tobytes())
    for name, frequencies in model.module.named_buffers():
        if name.endswith("inv_freq") and "original" not in name:  # which transformers keeps for ropes that are not served
            angles = torch.arange(model.max_context)[:, None] * frequencies.float()
            for turn in (angles.cos(), angles.sin()):
                digest.update(turn.numpy().tobytes())
    return digest.hexdigest()

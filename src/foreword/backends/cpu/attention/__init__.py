"""Attention backends: one small interface, the bit-identical tiled one, and a plain reference."""

from foreword.backends.base import AttentionBackend, AttentionStep, LayerCall, Span
from foreword.backends.cpu.attention.tiled import TiledAttention
from foreword.backends.reference.attention import ReferenceAttention

BACKENDS: dict[str, type[AttentionBackend]] = {backend.name: backend for backend in (TiledAttention, ReferenceAttention)}

__all__ = [
    "BACKENDS",
    "AttentionBackend",
    "AttentionStep",
    "LayerCall",
    "ReferenceAttention",
    "Span",
    "TiledAttention",
]

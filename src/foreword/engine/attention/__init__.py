"""Attention backends: one small interface, the bit-identical tiled one, and a plain reference."""

from foreword.engine.attention.base import AttentionBackend, AttentionStep, LayerCall, Span
from foreword.engine.attention.reference import ReferenceAttention
from foreword.engine.attention.tiled import TiledAttention

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

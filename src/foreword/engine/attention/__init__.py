"""Attention backends: one small interface, the bit-identical tiled one, its faster kin, and a plain reference."""

from foreword.engine.attention.base import AttentionBackend, AttentionStep, LayerCall, Span
from foreword.engine.attention.reference import ReferenceAttention
from foreword.engine.attention.tiled import FlashAttention, TiledAttention

BACKENDS: dict[str, type[AttentionBackend]] = {
    backend.name: backend for backend in (TiledAttention, FlashAttention, ReferenceAttention)
}

__all__ = [
    "BACKENDS",
    "AttentionBackend",
    "AttentionStep",
    "FlashAttention",
    "LayerCall",
    "ReferenceAttention",
    "Span",
    "TiledAttention",
]

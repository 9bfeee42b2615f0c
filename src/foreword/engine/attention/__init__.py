"""Attention backends: one small interface, a plain reference, and the bit-identical tiled one."""

from foreword.engine.attention.base import AttentionBackend, AttentionStep, LayerCall, Span
from foreword.engine.attention.reference import ReferenceAttention
from foreword.engine.attention.tiled import TiledAttention

BACKENDS: dict[str, type[AttentionBackend]] = {"tiled": TiledAttention, "reference": ReferenceAttention}

__all__ = ["BACKENDS", "AttentionBackend", "AttentionStep", "LayerCall", "ReferenceAttention", "Span", "TiledAttention"]

"""What the engine computes with, for its log: the processor's vectors, and the threads."""

import os

import llvmlite.binding as llvm
import torch

VECTORS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4.2", "SSE4.2"), ("neon", "NEON"))
"""Features as LLVM names them, the widest first."""


def path_in_words(quantization: str, attention: str) -> str:
    """The path that was chosen at start: kernels are compiled for the processor at hand."""
    features = llvm.get_host_cpu_features()
    vectors = next((name for feature, name in VECTORS if features.get(feature)), "no vectors")
    linear = "float32" if quantization == "none" else quantization
    threads = torch.get_num_threads()
    return (
        f"kernels for {llvm.get_host_cpu_name()} ({vectors}), linear layers in {linear}, attention {attention!r}, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


def idle_threads() -> str | None:
    """A warning, if there are more threads than processors to run them."""
    threads = torch.get_num_threads()
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or threads
    if threads <= processors:
        return None
    return (
        f"{threads} are more threads than processors ({processors}): each operation waits for all of them, which is several "
        f"times slower. Set OMP_NUM_THREADS={processors}, or leave it unset."
    )

"""Target: what kernels are compiled for, which is a processor and those of its instructions that a path makes use of.

A path is lowered by leaving instructions out, so that what an older processor would run can be run on a newer one. All paths
give the same bits: sums of whole numbers are exact, and each sum of floats is one chain whatever a vector's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import llvmlite.binding as llvm

from foreword.errors import ConfigError

Dots = Literal["vpdpbusd", "pmaddubsw", "sdot", "plain"]
"""How whole numbers of 8 bits are multiplied and added in fours: the instruction; ``plain`` is whatever LLVM makes of it."""


@dataclass(frozen=True)
class Path:
    """A way of computing: the features that it needs, as LLVM names them, and what it makes of them."""

    words: str
    needs: frozenset[str]
    lanes: int
    dots: Dots


_AVX2 = frozenset({"avx2", "fma", "f16c"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
PATHS: dict[str, Path] = {
    "avx512-vnni": Path("AVX-512 with VNNI", _AVX512 | {"avx512vnni"}, 16, "vpdpbusd"),
    "avx512": Path("AVX-512", _AVX512, 16, "pmaddubsw"),
    "avx-vnni": Path("AVX2 with VNNI", _AVX2 | {"avxvnni"}, 8, "vpdpbusd"),
    "avx2": Path("AVX2", _AVX2, 8, "pmaddubsw"),
    "neon-dotprod": Path("NEON with dot products", frozenset({"neon", "dotprod"}), 4, "sdot"),
    "plain": Path("no instructions chosen", frozenset(), 4, "plain"),
}
"""The best first; ``plain`` needs nothing, and leaves all to the compiler."""
WIDER = ("avx512", "avx10", "avxvnni", "avxifma", "avxneconvert", "amx", "evex512")
"""How the features begin that a path of vectors of 256 bits does without."""


@dataclass(frozen=True)
class Target:
    """What kernels are compiled for.

    path
        A name of PATHS.
    processor, features
        As LLVM names them; features as it takes them, comma-separated, with + or - in front.
    lanes
        float32 numbers of a vector.
    dots
        How whole numbers of 8 bits are multiplied.
    halves
        Whether it has an instruction from float16 to float32.
    """

    path: str
    processor: str
    features: str
    lanes: int
    dots: Dots
    halves: bool

    @property
    def words(self) -> str:
        """For logs."""
        return f"kernels for {self.processor} ({PATHS[self.path].words})"


def targets(wanted: str = "auto", features: Mapping[str, bool] | None = None) -> list[Target]:
    """The paths that a processor has, the best first; those from ``wanted`` on, if a path is named. ``features`` are by
    default those of the processor at hand. ConfigError for a path that nobody knows, or that it has not."""
    found = dict(llvm.get_host_cpu_features() if features is None else features)
    if wanted != "auto" and wanted not in PATHS:
        raise ConfigError(f"kernel_path is {wanted!r}; known: auto, {', '.join(PATHS)}.")
    has = [name for name, path in PATHS.items() if all(found.get(need) for need in path.needs)]
    if wanted != "auto" and wanted not in has:
        raise ConfigError(
            f"kernel_path is {wanted!r}, which this processor has not; it has {', '.join(has)}. 'auto' chooses."
        )
    return [_target(name, found) for name in (has if wanted == "auto" else has[has.index(wanted) :])]


def best_target() -> Target:
    """The best of the processor at hand, unchecked."""
    return targets()[0]


def _target(name: str, found: Mapping[str, bool]) -> Target:
    path = PATHS[name]
    flags = {feature: has and not _left_out(name, path, feature) for feature, has in found.items()}
    words = [f"{'+' if has else '-'}{feature}" for feature, has in sorted(flags.items())]
    if path.lanes == 16:
        words.append("-prefer-256-bit")  # which LLVM assumes of many processors: vectors of 512 bits were cut in two
    halves = bool(flags.get("f16c") or flags.get("neon"))
    return Target(name, llvm.get_host_cpu_name(), ",".join(words), path.lanes, path.dots, halves)


def _left_out(name: str, path: Path, feature: str) -> bool:
    if feature in path.needs:
        return False
    if feature in ("avx512vnni", "avxvnni", "dotprod") and path.dots not in ("vpdpbusd", "sdot"):
        return True
    if name == "plain":
        return feature.startswith((*WIDER, "avx2", "f16c"))
    return path.lanes < 16 and feature.startswith(WIDER)

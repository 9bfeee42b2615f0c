"""Files of a model's directory that are not what their names say: told by their names."""

import json
from pathlib import Path

from foreword.errors import ModelError

READ = ("*.json", "*.jinja", "*.safetensors", "tokenizer.model", "*.txt")
OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
)
"""Files that hold an object in JSON."""
POINTER = b"version https://git-lfs.github.com/"


def refuse_unreadable(folder: Path) -> None:
    """ModelError for what is no file, cannot be opened, or stands in for a file that was not fetched."""
    for file in sorted(each for pattern in READ for each in folder.glob(pattern)):
        try:
            with file.open("rb") as stream:
                begin = stream.read(len(POINTER))
        except OSError as error:
            raise ModelError(
                f"{file.name} of model {str(folder)!r} cannot be read: {error.strerror}. Put the file there, or take away "
                f"what lies in its place."
            ) from error
        if begin == POINTER:
            raise ModelError(
                f"{file.name} of model {str(folder)!r} is not the file, but what Git LFS puts in its place. "
                f"Fetch the files with `git lfs pull`."
            )


def broken_json(folder: Path) -> str:
    """Of a model that cannot be loaded, which of its files is no object in JSON, in a sentence; empty: none."""
    for name in OBJECTS:
        if not (folder / name).is_file():
            continue
        try:
            told = json.loads((folder / name).read_bytes())
        except (ValueError, RecursionError) as error:
            return f"{name} is not valid JSON ({error})."
        if not isinstance(told, dict):
            return f"{name} holds a {type(told).__name__}, not an object."
    return ""

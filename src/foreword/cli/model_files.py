"""Reads what prompt templates need from a model's directory."""

from pathlib import Path

from foreword.errors import ModelError
from foreword.prompt.template import TEMPLATE_FILES, PromptTemplate

EXTRA_TEMPLATES = "additional_chat_templates"


def read_template(directory: Path) -> PromptTemplate:
    """The chat template and tokenizer of a model's directory, without its weights. ModelError says what is missing."""
    if not directory.is_dir():
        raise ModelError(
            f"{str(directory)!r} is not a directory; give one that holds a model's tokenizer.json and chat template."
        )
    paths = [directory / name for name in TEMPLATE_FILES] + sorted((directory / EXTRA_TEMPLATES).glob("*.jinja"))
    files = {str(path.relative_to(directory)): path.read_text("utf-8") for path in paths if path.is_file()}
    try:
        return PromptTemplate.from_files(files)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from error

"""Reads what prompt templates need from a model's directory, or from a chat template alone."""

from pathlib import Path

from foreword.errors import ModelError
from foreword.lazy import extra_needed
from foreword.prompt.template import TEMPLATE_FILES, PromptTemplate
from foreword.prompt.tokenizer import ApproximateTokenizer, HubTokenizer, Tokenizer

EXTRA_TEMPLATES = "additional_chat_templates"
BARE_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""What stands for the special tokens of a template that came without its model's files."""


def read_template(directory: Path, stand_in: Tokenizer | None = None) -> PromptTemplate:
    """The chat template and tokenizer of a model's directory, without its weights. ModelError says what is missing.

    ``stand_in`` is the tokenizer where the directory has none.
    """
    if not directory.is_dir():
        raise ModelError(
            f"{str(directory)!r} is not a directory; give one that holds a model's tokenizer.json and chat template."
        )
    paths = [directory / name for name in TEMPLATE_FILES] + sorted((directory / EXTRA_TEMPLATES).glob("*.jinja"))
    files = {str(path.relative_to(directory)): _text(path) for path in paths if path.is_file()}
    try:
        return PromptTemplate.from_files(files, stand_in)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from error


def read_any_template(path: Path) -> tuple[PromptTemplate, bool]:
    """The chat template of a directory or of a file, and whether its tokens are estimated for want of a tokenizer.

    A file is the template itself, or JSON that holds it (``tokenizer_config.json``), and a tokenizer beside it is used. A
    GGUF file has both.
    """
    if path.is_dir():
        estimated = not (path / "tokenizer.json").is_file() and _holds_template(path)
        return read_template(path, ApproximateTokenizer() if estimated else None), estimated
    if not path.is_file():
        raise ModelError(f"{str(path)!r} is not a directory and not a file; give a model's directory or its chat template.")
    if path.suffix == ".gguf":
        return _of_gguf(path), False
    beside = path.with_name("tokenizer.json")
    if path.suffix == ".json":
        stand_in = None if beside.is_file() else ApproximateTokenizer()
        files = {"tokenizer_config.json": _text(path)} | ({"tokenizer.json": _text(beside)} if beside.is_file() else {})
        try:
            return PromptTemplate.from_files(files, stand_in), stand_in is not None
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    try:
        if beside.is_file():
            return PromptTemplate(_text(path), HubTokenizer.from_json(_text(beside)), BARE_TOKENS), False
        return PromptTemplate(_text(path), ApproximateTokenizer(), BARE_TOKENS), True
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _of_gguf(path: Path) -> PromptTemplate:
    """Of a GGUF file, whose tensors are not looked at."""
    with extra_needed("Reading GGUF files", "engine"):
        from foreword.weights.gguf_file import GgufFile
        from foreword.weights.gguf_tokenizer import GgufWords
    words = GgufWords(GgufFile(path))
    templates = words.templates()
    if not templates:
        raise ModelError(f"GGUF file {str(path)!r} holds no chat template. Give the template by itself (.jinja).")
    try:
        return PromptTemplate(templates, HubTokenizer(words.tokenizer()), words.special())
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _holds_template(directory: Path) -> bool:
    """Whether a directory has anything that a chat template may stand in."""
    found = any((directory / name).is_file() for name in TEMPLATE_FILES[1:])
    return found or any((directory / EXTRA_TEMPLATES).glob("*.jinja"))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error

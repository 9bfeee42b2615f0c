"""foreword prices and foreword audit-template."""

from pathlib import Path

import foreword
from cli.test_cli import run_here
from prompt.families import files
from weights.gguf_files import write

TABLE_READER = Path(foreword.__file__).parent / "weights" / "table_reader"


def write_model(directory: Path, family: str) -> str:
    directory.mkdir()
    for name, text in files(family).items():
        (directory / name).write_text(text)
    return str(directory)


def test_prices_of_one_model_with_date_and_source() -> None:
    out = run_here("prices", "anthropic/claude-opus-5-20260101").stdout
    assert "claude-opus-5" in out
    assert "1.25× / 2×" in out
    assert "2026-11-22" in out
    assert "Source of prices: https://platform.claude.com" in out
    assert "Source of minimum and lifetime: https://platform.claude.com" in out
    assert "gpt-" not in out
    assert "gpt-5.6" in run_here("prices").stdout


def test_a_model_without_a_price_is_said() -> None:
    result = run_here("prices", "my-own-model")
    assert result.returncode == 2
    assert "'my-own-model' is not in the price table" in result.stderr


def test_a_template_that_is_append_only_passes(tmp_path: Path) -> None:
    result = run_here("audit-template", write_model(tmp_path / "chatml", "chatml"))
    assert result.returncode == 0, result.stderr
    assert "append-only" in result.stdout
    assert "breaks" not in result.stdout


def test_a_template_that_is_not_is_shown_where(tmp_path: Path) -> None:
    result = run_here("audit-template", write_model(tmp_path / "qwen3", "qwen3"), str(TABLE_READER))
    assert result.returncode == 1
    assert "breaks at request 3, token" in result.stdout.replace("\n", " ")
    assert "thinking and tools: request 3, token" in result.stdout
    assert "before: '" in result.stdout


def test_a_gguf_file_has_template_and_tokenizer(tmp_path: Path) -> None:
    tokens = [*map(chr, range(33, 127)), "Ġ", "Ċ", "<|im_start|>", "<|im_end|>"]
    words = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 2) + [3] * 2,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    template = files("chatml")["chat_template.jinja"]
    path = write(tmp_path / "model.gguf", {**words, "tokenizer.chat_template": template}, {}, "F32", "llama")
    result = run_here("audit-template", str(path))
    assert result.returncode == 0, result.stderr
    assert "append-only" in result.stdout
    assert "estimated" not in result.stdout
    none = run_here("audit-template", str(write(tmp_path / "none.gguf", words, {}, "F32", "llama")))
    assert none.returncode == 2
    assert "none.gguf' holds no chat template" in none.stderr.replace("\n", " ")


def test_a_template_alone_is_checked_with_estimated_tokens(tmp_path: Path) -> None:
    source = tmp_path / "mine.jinja"
    source.write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}")
    result = run_here("audit-template", str(source))
    assert result.returncode == 0, result.stderr
    assert "There is no tokenizer.json" in result.stdout
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "chat_template.jinja").write_text(source.read_text())
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    assert run_here("audit-template", str(tmp_path / "model")).returncode == 0


def test_what_a_template_needs_can_be_given(tmp_path: Path) -> None:
    source = tmp_path / "strict.jinja"
    source.write_text(
        "{% if strategy != 'short' or turns != 3 %}{{ raise_exception('which strategy?') }}{% endif %}"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    )
    refused = run_here("audit-template", str(source))
    assert refused.returncode == 1
    assert "it reads strategy, turns" in refused.stdout.replace("\n", " ")
    assert run_here("audit-template", str(source), "--set", "strategy=short", "--set", "turns=3").returncode == 0
    for wrong in ("strategy", "=x", "messages=[]"):
        bad = run_here("audit-template", str(source), "--set", wrong)
        assert bad.returncode == 2
        assert "--set" in bad.stderr


def test_bad_directories_are_named(tmp_path: Path) -> None:
    missing = run_here("audit-template", str(tmp_path / "none"))
    assert missing.returncode == 2
    assert "is not a directory" in missing.stderr
    (tmp_path / "empty").mkdir()
    empty = run_here("audit-template", str(tmp_path / "empty"))
    assert empty.returncode == 2
    assert "There is no tokenizer.json" in empty.stderr
    assert "Traceback" not in missing.stderr + empty.stderr

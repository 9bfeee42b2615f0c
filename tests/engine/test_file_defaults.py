"""What a model's files say of its context, its ends and its sampling, in all the forms in which files say it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine.recording import RecordingEngine
from foreword.engine import EngineConfig, EngineRequest, SamplingParams
from foreword.engine.build import EngineParts, make_parts
from foreword.engine.file_defaults import defaults_in_words, sampling_defaults
from foreword.errors import ConfigError
from foreword.testing.tiny_models import write_model
from foreword.tokens import pack_tokens

Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A tiny Llama's directory, its JSON files with other fields; None takes a field out."""

    def write(family: str = "llama", rope: dict[str, Any] | None = None, **files: dict[str, Any]) -> Path:
        path = write_model(tmp_path / "model", family, **({} if rope is None else {"rope_parameters": rope}))
        for name, fields in files.items():
            file = path / f"{name}.json"
            told = json.loads(file.read_text()) | fields
            file.write_text(json.dumps({key: value for key, value in told.items() if value != "absent"}))
        return path

    return write


def parts(path: Path, **options: Any) -> EngineParts:
    return make_parts(EngineConfig(model=str(path), kv_cache_memory_bytes=2**21, self_test=False, **options))


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, {1}),
        ({"generation_config": {"eos_token_id": [7]}}, {1, 7}),
        ({"generation_config": {"eos_token_id": 7}}, {1, 7}),
        ({"generation_config": {"eos_token_id": [7, 9]}, "config": {"eos_token_id": 3}}, {1, 3, 7, 9}),
        ({"generation_config": {"eos_token_id": None}, "config": {"eos_token_id": [4, 5]}}, {1, 4, 5}),
        ({"generation_config": {"eos_token_id": None}, "config": {"eos_token_id": None}}, {1}),
        ({"generation_config": {"eos_token_id": "absent"}, "config": {"eos_token_id": "absent"}}, {1}),
        ({"generation_config": {"eos_token_id": 7}, "tokenizer_config": {"eos_token": "absent"}}, {1, 7}),
        ({"tokenizer_config": {"eos_token": "q"}}, {1, "q"}),
        ({"generation_config": {"eos_token_id": [7, 320, 100_000, -1]}}, {1, 7}),
        ({"config": {"eos_token_id": 320}, "generation_config": {"eos_token_id": 320}}, {1}),
    ],
)
def test_ends_are_joined_from_all_files_and_lie_in_the_vocabulary(
    written: Write, files: dict[str, Any], ends: set[int | str]
) -> None:
    made = parts(written(**files))
    known = {made.text.original().convert_tokens_to_ids(end) if isinstance(end, str) else end for end in ends}
    assert made.info.end_token_ids == known
    again = parts(Path(str(made.config.model)))
    assert again.info.end_token_ids == known, "what an earlier start found is the same"


def test_an_end_that_no_token_is_named_by_ends_nothing(written: Write) -> None:
    """The library would add a token, one behind the vocabulary of the model."""
    made = parts(written(tokenizer_config={"eos_token": "<|nowhere|>"}, config={"eos_token_id": None}))
    assert all(token < made.info.vocab_size for token in made.info.end_token_ids)
    engine = made.engine()
    asked = EngineRequest(pack_tokens([5, 6]), SamplingParams(max_tokens=4, min_tokens=4, temperature=0))
    generation = engine.add_request(asked)
    while engine.has_unfinished_requests():
        engine.step()
    assert generation.error is None
    assert generation.num_output_tokens == 4


def test_sampling_is_what_the_file_recommends(written: Write, caplog: pytest.LogCaptureFixture) -> None:
    recommended = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True}
    path = written(generation_config=recommended)
    with caplog.at_level(logging.INFO, "foreword"):
        assert parts(path).info.default_sampling == SamplingParams(temperature=0.6, top_p=0.95, top_k=20)
    assert "temperature 0.6, top_p 0.95, top_k 20" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "foreword"):
        assert parts(path, generation_config="none").info.default_sampling == SamplingParams()
    assert "generation_config" not in caplog.text


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ({}, SamplingParams()),
        ({"temperature": None, "top_k": None}, SamplingParams()),
        ({"temperature": 0}, SamplingParams(temperature=0)),
        ({"min_p": 0.1, "repetition_penalty": 1.05}, SamplingParams(min_p=0.1, repetition_penalty=1.05)),
        ({"max_new_tokens": 5, "num_beams": 4, "length_penalty": 2.0}, SamplingParams()),
        ({"top_k": -5, "top_p": 0.9}, SamplingParams(top_p=0.9)),
        ({"top_p": "0.9", "temperature": True, "top_k": 20}, SamplingParams(top_k=20)),
    ],
)
def test_what_a_file_says_nothing_of_or_what_is_out_of_range_is_as_usual(
    told: dict[str, Any], taken: SamplingParams
) -> None:
    assert sampling_defaults({"generation_config.json": json.dumps(told).encode()}) == taken


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"temperature": NaN}'])
def test_a_file_that_says_nothing_readable(content: bytes) -> None:
    assert sampling_defaults({"generation_config.json": content}) == SamplingParams()
    assert sampling_defaults({}) == SamplingParams()


def test_defaults_in_words() -> None:
    assert defaults_in_words(SamplingParams()) == ""
    assert defaults_in_words(SamplingParams(temperature=0.7, top_k=64)) == "temperature 0.7, top_k 64"


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 1024}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


@pytest.mark.parametrize(
    ("rope", "longest"),
    [
        (None, 1024),
        (YARN, 4096),
        ({**YARN, "factor": 2.5}, 2560),
        ({**YARN, "original_max_position_embeddings": 128}, 1024),
        (LINEAR, 4096),
        (LLAMA3, 1024),
    ],
    ids=["plain", "yarn", "yarn 2.5", "yarn of files that have it in them", "linear", "llama3"],
)
def test_a_context_is_as_long_as_the_rope_makes_it_and_no_longer(
    written: Write, rope: dict[str, Any] | None, longest: int
) -> None:
    path = written(rope=rope)
    assert parts(path).info.max_model_len == longest
    assert parts(path, max_model_len=longest).info.max_model_len == longest
    assert parts(path, max_model_len=100).info.max_model_len == 100
    for more in (longest + 1, 1_000_000):
        with pytest.raises(ConfigError, match=rf"max_model_len is {more}, but .* takes {longest} tokens"):
            parts(path, max_model_len=more)


def test_positions_beyond_the_trained_ones_are_those_of_transformers(written: Write) -> None:
    """A prompt beyond the trained 1,024 tokens, stretched by YaRN."""
    path = written(rope={**YARN, "factor": 2.0})
    engine = RecordingEngine(str(path), kv_cache_memory_bytes=2**22)
    prompt = [2 + (at * at) % 300 for at in range(1200)]
    (trace,) = engine.run(prompt, max_tokens=1)
    plain = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = plain(input_ids=torch.tensor([prompt])).logits[0, -1]
    assert (trace.logits[1199] - expected).abs().max() / expected.abs().max() < 1e-5

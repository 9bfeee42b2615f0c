"""What a start has found out is kept for the next, and trusted only where nothing has changed and the bits are the same."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foreword import LLM, SamplingParams
from foreword.backends.kept_files import KeptFiles
from foreword.backends.registry import make_backend
from foreword.bench import ModelWork
from foreword.engine import EngineConfig
from foreword.engine.build import EngineParts, make_parts
from foreword.engine.findings import Findings, findings_key
from foreword.engine.llm import LLMOverEngine
from foreword.engine.plain_model import PlainModel
from foreword.weights.safetensors import SafetensorsCheckpoint

PROMPTS = [{"prompt_token_ids": [5 + (7 * n + at) % 300 for at in range(40 + 9 * n)]} for n in range(3)]


@pytest.fixture
def model(model_dir: Callable[..., str], tmp_path: Path) -> str:
    return shutil.copytree(model_dir("llama"), tmp_path / "model").as_posix()


def start(model: str, folder: Path, **options: object) -> EngineParts:
    config = EngineConfig(model, kv_cache_memory_bytes=2**21, start_cache_dir=str(folder), **options)  # type: ignore[arg-type]
    return make_parts(config)


def is_plain(parts: EngineParts) -> bool:
    return isinstance(parts.model.module, PlainModel)


def answers(parts: EngineParts) -> list[object]:
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, logprobs=3)
    outputs = [each.outputs[0] for each in LLMOverEngine(parts.engine()).generate(PROMPTS, params, use_tqdm=False)]
    return [[o.token_ids, [{t: p.logprob for t, p in at.items()} for at in o.logprobs or []]] for o in outputs]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("options", [{}, {"quantization": "int8"}, {"kv_dtype": "bfloat16"}, {"kv_dtype": "int8"}])
def test_the_second_start_gives_the_same_bits(
    model_dir: Callable[..., str], tmp_path: Path, family: str, options: dict[str, object]
) -> None:
    first = start(model_dir(family), tmp_path, **options)
    second = start(model_dir(family), tmp_path, **options)
    assert not is_plain(first)
    assert is_plain(second)
    assert second.info == first.info  # its fingerprint too, so that both can share blocks
    assert answers(second) == answers(first)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_the_second_start_of_a_model_whose_head_is_its_embedding(model: str, tmp_path: Path, quantization: str) -> None:
    file = Path(model) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tie_word_embeddings": True}))
    first, second = (start(model, tmp_path, quantization=quantization) for _ in range(2))
    assert is_plain(second)
    assert answers(second) == answers(first)


def test_the_second_start_s_model_is_asked_for_its_work_like_the_first(model: str, tmp_path: Path) -> None:
    first, second = (start(model, tmp_path) for _ in range(2))
    assert is_plain(second)
    assert not is_plain(first)
    of_first, of_second = (ModelWork.of(parts.model, parts.runner.backend) for parts in (first, second))
    assert of_first == of_second
    assert of_first.head > 0


def test_a_verdict_says_of_when_it_is(model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = start(model, tmp_path / "kept")
    with caplog.at_level(logging.INFO, "foreword"):
        second = start(model, tmp_path / "kept")
    assert first.self_test is not None
    assert not first.self_test.kept_from
    assert second.self_test is not None
    assert second.self_test.kept_from
    assert f"passed on {second.self_test.kept_from}" in caplog.text


def test_a_test_that_was_not_asked_for_is_made_when_it_is(model: str, tmp_path: Path) -> None:
    start(model, tmp_path / "kept", self_test=False)
    tested = start(model, tmp_path / "kept").self_test
    assert tested is not None
    assert not tested.kept_from
    assert tested.seconds > 0


def weight(model: str) -> None:
    """One number of the weights, at the same time, in a file of the same size."""
    file = Path(model) / "model.safetensors"
    content, times = bytearray(file.read_bytes()), file.stat()
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def tokenizer(model: str) -> None:
    file = Path(model) / "tokenizer.json"
    file.write_text(file.read_text() + "\n")


@pytest.mark.parametrize("change", [weight, tokenizer])
def test_what_changes_in_the_files_is_found_out_anew(model: str, tmp_path: Path, change: Callable[[str], None]) -> None:
    start(model, tmp_path / "kept")
    assert is_plain(start(model, tmp_path / "kept"))
    change(model)
    assert not is_plain(start(model, tmp_path / "kept"))


def test_other_options_and_threads_are_found_out_anew(model: str, tmp_path: Path) -> None:
    checkpoint, backend = SafetensorsCheckpoint(model), make_backend("cpu", 16)
    keys = {findings_key(checkpoint, backend), findings_key(checkpoint, make_backend("cpu", 32))}
    keys.add(findings_key(checkpoint, make_backend("cpu", 16, quantization="int8")))
    keys.add(findings_key(checkpoint, make_backend("reference", 16)))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        keys.add(findings_key(checkpoint, backend))
    finally:
        torch.set_num_threads(threads)
    assert len(keys) == 5
    kept = make_backend("cpu", 16, kernel_folder=tmp_path)
    assert findings_key(checkpoint, kept) in keys


@pytest.mark.parametrize("wrong", ["sample", "rope", "tensor"])
def test_findings_that_do_not_hold_are_not_used_and_not_tried_again(
    model: str, tmp_path: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = answers(start(model, tmp_path))
    checkpoint, files = SafetensorsCheckpoint(model), KeptFiles(tmp_path)
    key = findings_key(checkpoint, make_backend("cpu", 16))
    content = files.get(key)
    assert content is not None
    spoilt = {
        "sample": content.replace(Findings.from_json(content).sample.encode(), b"0" * 64),
        "rope": content.replace(b'"turn_scaling": 1.0', b'"turn_scaling": 1.5'),
        "tensor": content.replace(b'"layers": "model.layers"', b'"layers": "model.others"'),
    }[wrong]
    assert spoilt != content
    files.put(key, spoilt)
    with caplog.at_level(logging.WARNING, "foreword"):
        again = start(model, tmp_path)
    assert len(caplog.records) == 1
    assert not is_plain(again)
    assert again.self_test is not None
    assert not again.self_test.kept_from
    assert answers(again) == right
    caplog.clear()
    assert not is_plain(start(model, tmp_path))
    assert not caplog.records


def test_a_damaged_file_is_as_good_as_none(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    start(model, folder)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    again = start(model, folder)
    assert not is_plain(again)
    assert again.self_test is not None
    assert not again.self_test.kept_from


@pytest.mark.parametrize("family", ["gemma2", "phi3"])
def test_a_model_of_another_shape_is_asked_anew_but_its_test_is_kept(
    model_dir: Callable[..., str], tmp_path: Path, family: str
) -> None:
    start(model_dir(family), tmp_path)
    again = start(model_dir(family), tmp_path)
    assert not is_plain(again)
    assert again.self_test is not None
    assert again.self_test.kept_from


def test_nothing_is_kept_where_that_is_off(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    LLM(model, kv_cache_memory_bytes=2**21, start_cache_dir="off", kernel_cache_dir="off").close()
    assert not (tmp_path / "foreword").exists()


def test_the_second_start_imports_no_transformers_and_has_its_tokenizer(model: str, tmp_path: Path) -> None:
    code = f"""
import sys
from foreword import LLM
llm = LLM({model!r}, kv_cache_memory_bytes=2**21, start_cache_dir={str(tmp_path / "kept")!r})
print("transformers" in sys.modules, llm.generate("a", use_tqdm=False)[0].outputs[0].text == "", end=" ")
print(type(llm.get_tokenizer()).__module__.split(".")[0])
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    first, second = (run.stdout.split() for run in runs)
    assert first[0] == "True"
    assert second[0] == "False"
    assert first[1:] == second[1:]
    assert second[2] == "transformers"

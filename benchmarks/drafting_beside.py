"""Drafts beside those of llama.cpp and vLLM: the same token ids, drafting off and on in turn, each turn its own process.

    python benchmarks/drafting_beside.py work WORK.json                            what is run, by Foreword's tokenizers
    python benchmarks/drafting_beside.py foreword WORK.json --model DIR/model
    DIR/venv-llama/bin/python benchmarks/drafting_beside.py llama WORK.json --model DIR/model-f32.gguf --gguf SMOLLM2.gguf
    DIR/venv-vllm/bin/python benchmarks/drafting_beside.py vllm WORK.json --model DIR/model

repeat  The same prompt of 512 random tokens again, greedy, 256 tokens: of the model of 0.22 B parameters (--model).
edit    A file of 200 lines written again with one name changed, greedy, 400 tokens: SmolLM2 (--gguf). vLLM reads no GGUF.
random  A prompt of 32 random tokens, 128 more at temperature 100 (vLLM: 2), so that nothing repeats: of the same model.

Tokens a second are those behind the first. The environments are made by shared/peers/setup; only ``work`` and ``foreword``
need Foreword. llama.cpp drafts by LlamaPromptLookupDecoding of its Python package, vLLM by the method ``ngram``.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

VOCABULARY = 32_000
"""Of the model of 0.22 B parameters."""
HOT, VLLM_HOT = 100.0, 2.0
"""Temperatures at which nothing repeats; vLLM takes no higher one."""
VLLM_DRAFT = {"method": "ngram", "prompt_lookup_min": 2, "prompt_lookup_max": 4}
Answering = Callable[[dict[str, Any]], tuple[list[int], float]]
"""Answers one piece of work: tokens, and the seconds behind the first of them."""


def make_work() -> dict[str, Any]:
    """What every engine is asked, by row: a prompt, how often it is asked, how many tokens, sampled or not."""
    from datetime import datetime

    from drafting import EDITED, INSTRUCTION, source_file
    from foreword.engine import EngineConfig
    from foreword.engine.build import make_parts
    from foreword.tokens import unpack_tokens

    text = make_parts(EngineConfig(model="smollm2", kv_cache_memory_bytes=2**27, self_test=False)).text
    instruction = INSTRUCTION.format(old="randbelow", new="draw_below")
    content = f"Here is a file:\n\n```python\n{source_file(200)}\n```{instruction}"
    edit = unpack_tokens(text.tokens(text.chat_prompt([{"role": "user", "content": content}], True, datetime.now())))
    rng = random.Random(0)
    return {
        "repeat": {"prompt": [rng.randrange(VOCABULARY) for _ in range(512)], "times": 2, "tokens": 256, "greedy": True},
        "edit": {"prompt": edit, "times": 1, "tokens": EDITED, "greedy": True},
        "random": {"prompt": [rng.randrange(VOCABULARY) for _ in range(32)], "times": 1, "tokens": 128, "greedy": False},
    }


def foreword(model: str, drafting: bool, most: int) -> Answering:
    """This engine, which decides itself how much to draft."""
    del most
    from drafting import Side
    from foreword.engine import EngineConfig, SamplingParams
    from foreword.engine.build import make_parts

    parts = make_parts(EngineConfig(model=model, kv_cache_memory_bytes=2**29, self_test=False))
    side = Side.of(parts, drafting)

    def answer(work: dict[str, Any]) -> tuple[list[int], float]:
        temperature = 0.0 if work["greedy"] else HOT
        params = SamplingParams(temperature=temperature, seed=0, max_tokens=work["tokens"], ignore_eos=True)
        run = side.run([work["prompt"]], [params])
        return run.tokens[0], run.seconds

    return answer


def llama(model: str, drafting: bool, most: int) -> Answering:
    """llama.cpp, by llama-cpp-python."""
    from llama_cpp import Llama  # type: ignore[import-not-found]
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding  # type: ignore[import-not-found]

    draft = LlamaPromptLookupDecoding(num_pred_tokens=most) if drafting else None
    sizes = {"n_ctx": 4096, "n_threads": 2, "n_threads_batch": 2}
    engine = Llama(model, **sizes, draft_model=draft, logits_all=drafting, seed=0, verbose=False)  # drafts need all logits

    def answer(work: dict[str, Any]) -> tuple[list[int], float]:
        chosen = {"temp": 0.0, "top_k": 1} if work["greedy"] else {"temp": HOT, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        return timed((int(token) for token in engine.generate(work["prompt"], **chosen)), work["tokens"])

    return answer


def vllm(model: str, drafting: bool, most: int) -> Answering:
    """vLLM on its CPU backend, in this process."""
    for name, value in (
        ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
        ("VLLM_CPU_KVCACHE_SPACE", "2"),
        ("VLLM_CPU_OMP_THREADS_BIND", "0-1"),
        ("VLLM_LOGGING_LEVEL", "WARNING"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ):
        os.environ.setdefault(name, value)
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
    from vllm.inputs import TokensPrompt  # type: ignore[import-not-found]

    more = {"speculative_config": {**VLLM_DRAFT, "num_speculative_tokens": most}} if drafting else {}
    made = LLM(model=model, dtype="float32", max_model_len=4096, max_num_seqs=8, seed=0, **more)
    engine = made.llm_engine

    def tokens(work: dict[str, Any]) -> Iterable[int]:
        temperature = 0.0 if work["greedy"] else VLLM_HOT
        params = SamplingParams(
            temperature=temperature, seed=0, max_tokens=work["tokens"], ignore_eos=True, detokenize=False
        )
        engine.add_request(str(time.perf_counter()), TokensPrompt(prompt_token_ids=work["prompt"]), params)
        told = 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                yield from output.outputs[0].token_ids[told:]
                told = len(output.outputs[0].token_ids)

    return lambda work: timed(tokens(work), work["tokens"])


def timed(tokens: Iterable[int], most: int) -> tuple[list[int], float]:
    """So many tokens, and the seconds behind the first."""
    found: list[int] = []
    first = 0.0
    for token in tokens:
        found.append(token)
        first = first or time.perf_counter()
        if len(found) == most:
            break
    return found, time.perf_counter() - first


ENGINES: dict[str, Callable[[str, bool, int], Answering]] = {"foreword": foreword, "llama": llama, "vllm": vllm}


def turn(options: argparse.Namespace, work: dict[str, Any]) -> dict[str, Any]:
    """Each row once, in this process; of what is asked several times the last one counts."""
    found, drafting = {}, options.drafting == "on"
    small = "smollm2" if options.engine == "foreword" else options.gguf
    for model, rows in ((options.model, ("repeat", "random")), (small, ("edit",))):
        if model:
            answer = ENGINES[options.engine](model, drafting, options.most)
            for row in rows:
                tokens, seconds = [answer(work[row]) for _ in range(work[row]["times"])][-1]
                found[row] = {"rate": (len(tokens) - 1) / seconds, "tokens": tokens}
    return found


def compare(options: argparse.Namespace, work: dict[str, Any]) -> dict[str, Any]:
    """Turns without drafts and with; medians, their ratio, and how many tokens of greedy answers differ."""
    turns: dict[str, list[dict[str, Any]]] = {"off": [], "on": []}
    for number in range(options.repeat):
        for name in ("off", "on") if number % 2 == 0 else ("on", "off"):
            done = subprocess.run(
                [sys.executable, *sys.argv, "--drafting", name], stdout=subprocess.PIPE, text=True, check=True
            )
            turns[name].append(json.loads(done.stdout.splitlines()[-1]))
    told = {}
    for row in turns["on"][0]:
        rates = {name: median(each[row]["rate"] for each in runs) for name, runs in turns.items()}
        told[row] = {"tokens_per_second": rates, "ratio": rates["on"] / rates["off"]}
        if work[row]["greedy"]:
            pairs = [(off[row]["tokens"], on[row]["tokens"]) for off, on in zip(turns["off"], turns["on"], strict=True)]
            told[row]["tokens_differing"] = sum(x != y for off, on in pairs for x, y in zip(off, on, strict=True))
    return told


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["work", *ENGINES])
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", help="the model of 0.22 B parameters, as the engine reads it")
    parser.add_argument("--gguf", help="SmolLM2 as a GGUF file, for llama.cpp")
    parser.add_argument("--most", type=int, default=10, help="tokens that llama.cpp and vLLM draft")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--drafting", choices=["off", "on"], help="one turn in this process")
    options = parser.parse_args()
    if options.engine == "work":
        options.work.write_text(json.dumps(make_work()), encoding="utf-8")
        return
    work = json.loads(options.work.read_text(encoding="utf-8"))
    print(json.dumps(turn(options, work) if options.drafting else compare(options, work)), flush=True)


if __name__ == "__main__":
    main()

"""What int8 and KV in bfloat16 change: answers and perplexity of the packaged model on held-out tables.

    PYTHONPATH=training python benchmarks/perplexity.py [--tables 100] [--json FILE]

Right: the answers to held-out questions, character for character, as in training/evaluate.py. As float32: the answers that
are those of float32. Perplexity is that of the tokens of the right answers behind their tables and questions: the model was
trained to predict nothing else.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluate import answers
from foreword import LLM, SamplingParams
from foreword.bench import machine
from generator import Limits
from held_out import held_out_tables

WAYS: dict[str, dict[str, str]] = {
    "float32": {},
    "KV in bfloat16": {"kv_dtype": "bfloat16"},
    "int8": {"quantization": "int8"},
    "int8, KV in bfloat16": {"quantization": "int8", "kv_dtype": "bfloat16"},
}
AT_ONCE = 32


def logprobs(llm: LLM, prompts: list[list[int]]) -> list[list[float]]:
    """Log-probability of every token of each prompt but its first."""
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    out = []
    for at in range(0, len(prompts), AT_ONCE):
        batch = [{"prompt_token_ids": ids} for ids in prompts[at : at + AT_ONCE]]
        for ids, output in zip(prompts[at:], llm.generate(batch, params, use_tqdm=False), strict=False):
            assert output.error is None and output.prompt_logprobs is not None
            found = zip(ids[1:], output.prompt_logprobs[1:], strict=True)
            out.append([entries[token].logprob for token, entries in found if entries is not None])
    return out


def perplexity(values: list[list[float]]) -> float:
    """exp of the mean negative log-probability of a token."""
    flat = [value for some in values for value in some]
    return math.exp(-sum(flat) / len(flat))


def measure(options: dict[str, str], cases: list[tuple[str, str, str]]) -> tuple[dict[str, Any], list[str]]:
    """Figures of one way, and its answers. A case: a table, a question with the beginning of its answer, the answer."""
    llm = LLM(kv_cache_memory_bytes=2**29, **options)  # type: ignore[arg-type]
    said = answers(llm, [table + question for table, question, _ in cases])
    encode = llm.get_tokenizer().encode
    rights = [encode(right, add_special_tokens=False) for _, _, right in cases]
    whole = [encode(table + question) + ids for (table, question, _), ids in zip(cases, rights, strict=True)]
    of_answers = [values[-len(ids) :] for values, ids in zip(logprobs(llm, whole), rights, strict=True)]
    figures = {
        "right": sum(text == right for text, (_, _, right) in zip(said, cases, strict=True)),
        "questions": len(cases),
        "perplexity": perplexity(of_answers),
    }
    return figures, said


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--questions", type=int, default=4, help="for each table")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cases = [
        (table.text, question.prompt + question.start, question.answer)
        for table, questions in held_out_tables(args.tables, args.questions, args.seed, Limits())
        for question in questions
    ]
    rows: dict[str, dict[str, Any]] = {}
    first: list[str] = []
    for name, options in tqdm(WAYS.items(), unit="way"):
        figures, said = measure(options, cases)
        first = first or said
        rows[name] = {**figures, "same": sum(one == other for one, other in zip(first, said, strict=True))}
    print("| | right | as float32 | perplexity of the answers |\n|---|---|---|---|")
    for name, row in rows.items():
        right, same = (f"{row[key]} of {row['questions']}" for key in ("right", "same"))
        print(f"| {name} | {right} | {same} | {row['perplexity']:.5f} |")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

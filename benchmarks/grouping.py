"""A shuffled batch in the order of its prefix tree: computed tokens as predicted and as measured.

    python benchmarks/grouping.py [--prompts 1000] [--memory-mb 4]

The model in the package reads employee tables; each of 40 tables is asked 25 questions, all in random order, with a KV cache
that holds a small part of them. Counts do not depend on the machine.
"""

import argparse
import random

from foreword import LLM, SamplingParams
from foreword.prompt import group_by_prefix

NAMES = ["Alice", "Bob", "Carol", "David", "Eve", "Frank", "Grace", "Henry", "Iris", "Jack"]
CITIES = ["Boston", "Chicago", "Seattle", "Austin", "Denver"]


def table(rng: random.Random) -> str:
    """An employee table of a dozen rows."""
    rows = [
        f"| {number} | {rng.choice(NAMES)} {number} | {rng.randrange(40, 99)}000 | {rng.choice(CITIES)} |"
        for number in range(1, 13)
    ]
    return (
        "Here is the table:\n| ID | Name | Salary | Location |\n|----|------|--------|----------|\n" + "\n".join(rows) + "\n"
    )


def batch(prompts: int, rng: random.Random) -> list[str]:
    """Prompts in random order, 25 on each table."""
    tables = [table(rng) for _ in range(max(1, prompts // 25))]
    asked = [
        f"{tables[n % len(tables)]}Question: Where does number {n // len(tables)} work? Your answer: "
        for n in range(prompts)
    ]
    rng.shuffle(asked)
    return asked


def computed(llm: LLM, prompts: list[list[int]], together: bool) -> int:
    """Prompt tokens computed for a batch given whole, or one prompt after another in the order of arrival."""
    params = SamplingParams(temperature=0, max_tokens=1)
    given = [{"prompt_token_ids": ids} for ids in prompts]
    llm.reset_prefix_cache()
    if together:
        outputs = llm.generate(given, params, use_tqdm=False)
    else:
        outputs = [llm.generate(prompt, params)[0] for prompt in given]
    return sum(output.account.computed for output in outputs)


def main() -> None:
    """Print predicted and measured counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--memory-mb", type=int, default=4, help="KV cache")
    arguments = parser.parse_args()
    llm = LLM(kv_cache_memory_bytes=arguments.memory_mb * 2**20, max_num_seqs=4, self_test=False)
    prompts = [llm.get_tokenizer().encode(text) for text in batch(arguments.prompts, random.Random(0))]
    grouping = group_by_prefix(prompts)
    print(f"{len(prompts):,} prompts, {grouping.prompt_tokens:,} tokens")
    print(f"predicted: {grouping.computed_tokens:,} computed")
    print(f"measured:  {computed(llm, prompts, together=True):,} computed")
    print(f"one after another, as they came: {computed(llm, prompts, together=False):,} computed")


if __name__ == "__main__":
    main()

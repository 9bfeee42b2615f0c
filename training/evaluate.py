"""Judge a table reader by exact answers: ``python training/evaluate.py [--model DIR]``.

An answer is right if the text that greedy decoding gives is the cell, character for character. The tables are made of
names and values that training never saw; the demonstration table comes on top.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from foreword import LLM, SamplingParams
from generator import Limits, Question, Table
from held_out import DEMO, demo_questions, held_out_tables

PACKAGED = Path(__file__).resolve().parents[1] / "src" / "foreword" / "weights" / "table_reader"
AT_ONCE = 64


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=PACKAGED)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=4, help="questions for each table")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--failures", type=int, default=0, help="how many wrong answers to print")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def groups(table: Table, question: Question) -> list[str]:
    """The groups in whose figures a held-out question counts."""
    return [
        "all",
        f"rows {table.rows:2}",
        f"columns {len(table.columns)}",
        f"kind {table.kind}",
        f"form {question.form}",
    ]


def answers(llm: LLM, prompts: list[str]) -> list[str]:
    """What the model says, greedily."""
    greedy = SamplingParams(temperature=0, max_tokens=50)
    texts: list[str] = []
    for start in range(0, len(prompts), AT_ONCE):
        batch = prompts[start : start + AT_ONCE]
        texts += [output.outputs[0].text for output in llm.generate(batch, greedy, use_tqdm=False)]
    return texts


def main() -> None:
    """Print the share of exact answers of each group."""
    args = arguments()
    llm = LLM(model=str(args.model))
    cases = [(DEMO, question, [question.form]) for question in demo_questions()]
    for table, questions in held_out_tables(args.tables, args.questions, args.seed, Limits()):
        cases += [(table, question, groups(table, question)) for question in questions]
    prompts = [table.text + question.prompt + question.start for table, question, _ in cases]
    right: dict[str, list[bool]] = defaultdict(list)
    shown = 0
    for (table, question, names), text in zip(cases, answers(llm, prompts), strict=True):
        for name in names:
            right[name].append(text == question.answer)
        if text != question.answer and shown < args.failures:
            shown += 1
            print(f"{table.text}{question.prompt}{question.start}\n  said {text!r}, should say {question.answer!r}\n")
    figures = {name: (sum(values), len(values)) for name, values in sorted(right.items())}
    for name, (good, total) in figures.items():
        print(f"{name:24} {good:5} of {total:5}  {good / total:7.2%}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

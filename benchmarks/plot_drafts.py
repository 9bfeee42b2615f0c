"""Draw one answer, token by token: which were drafted, and by whom.

    python benchmarks/plot_drafts.py [--model smollm2] [--out docs/images/drafts.svg]

A record of a table is asked for in JSON, and then asked for again. The first time the form says what keys come, and values
are looked up in the prompt; the second time all of it is on the tree's edge below. Tokens without a box are those that a
step brings anyway: the one behind the last that was right.
"""

import argparse
from collections.abc import Sequence
from html import escape
from pathlib import Path

from foreword import LLM, SamplingParams
from foreword.cli.demo import markdown_table
from foreword.events import Event, StepFinished
from foreword.sampling_params import StructuredOutputs

COLOURS = {"form": "#d9822b", "prompt_lookup": "#2a9d8f", "tree": "#5b8def", "model": "#808890"}
WORDS = {"form": "the form", "prompt_lookup": "prompt lookup", "tree": "the tree", "model": "the model, a step each"}
FIELDS = ("name", "department", "salary", "location", "email")
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "integer" if name == "salary" else "string"} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
WIDTH, LETTER, LINE, MARGIN = 860, 8.4, 30, 12


def asked(llm: LLM, question: str) -> tuple[list[str], list[str], int]:
    """The texts of an answer's tokens, who drafted each, and the steps it took."""
    steps: list[StepFinished] = []

    def hear(event: Event) -> None:
        if isinstance(event, StepFinished):
            steps.append(event)

    leave = llm.engine.subscribe(hear)
    form = StructuredOutputs(json=SCHEMA, disable_any_whitespace=True)
    params = SamplingParams(temperature=0.0, max_tokens=120, structured_outputs=form)
    output = llm.chat([{"role": "user", "content": f"{markdown_table()}\n{question}"}], params)[0]
    leave()
    tokens, start = output.outputs[0].token_ids, len(output.prompt_token_ids)
    by = ["model"] * len(tokens)
    for draft in (draft for step in steps for draft in step.drafts):
        for place in range(draft.position - start, min(draft.position - start + draft.accepted, len(tokens))):
            by[place] = draft.drafter
    texts = [llm.engine.text.tokenizer.token_text(token) for token in tokens]
    return texts, by, sum(1 for step in steps if step.generating) + 1


def drawn(title: str, texts: Sequence[str], by: Sequence[str], top: float) -> tuple[list[str], float]:
    """Lines of boxes under a title, and where they end."""
    lines = [f'<text x="{MARGIN}" y="{top + 16}" class="title">{escape(title)}</text>']
    x, y = float(MARGIN), top + 30
    for text, drafter in zip(texts, by, strict=True):
        shown = text.replace("\n", "⏎").replace(" ", "·") or "∅"
        width = LETTER * len(shown) + 6
        if x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + LINE
        colour = COLOURS[drafter]
        frame = f'fill="{colour}" fill-opacity="{0.0 if drafter == "model" else 0.25}"'
        lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="22" rx="3" {frame}/>')
        lines.append(f'<text x="{x + 3:.1f}" y="{y + 16}" fill="{colour}">{escape(shown)}</text>')
        x += width + 3
    return lines, y + LINE


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--out", type=Path, default=Path("docs/images/drafts.svg"))
    options = parser.parse_args()
    llm = LLM(options.model)
    question = "Give the record of the second person as JSON."
    lines: list[str] = []
    top = 8.0
    for when in ("Asked first", "Asked again"):
        texts, by, steps = asked(llm, question)
        counts = ", ".join(f"{by.count(name)} by {words}" for name, words in WORDS.items() if name in by)
        more, top = drawn(f"{when}: {len(texts)} tokens in {steps} steps ({counts})", texts, by, top)
        lines += more
        print(when, len(texts), steps, counts)
        top += 10
    x = float(MARGIN)
    for name, words in WORDS.items():
        lines.append(f'<rect x="{x}" y="{top}" width="14" height="14" rx="3" fill="{COLOURS[name]}" fill-opacity="0.5"/>')
        lines.append(f'<text x="{x + 20}" y="{top + 12}" fill="{COLOURS[name]}">{words}</text>')
        x += LETTER * len(words) + 50
    style = "text{font:14px monospace} .title{fill:#808890;font-weight:bold}"
    body = "\n".join(lines)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 26:.0f}"><style>{style}</style>'
    options.out.write_text(f"{head}\n{body}\n</svg>\n", encoding="utf-8")


if __name__ == "__main__":
    main()

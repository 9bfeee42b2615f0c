"""foreword demo: one table, many questions, with the cache off and on."""

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from foreword.cli.config_flags import Flags, config_flags
from foreword.cli.engine_options import ModelArgument, load, tokens_for_everyone, with_model
from foreword.engine.config import EngineConfig
from foreword.sampling_params import SamplingParams

if TYPE_CHECKING:
    from foreword import LLM, RequestOutput

ROOMS = (
    ("Maple Room", "Helen Park", "maps"),
    ("Harbour Room", "Omar Diaz", "ships"),
    ("Cedar Room", "Ines Novak", "music"),
    ("Lantern Room", "Peter Lang", "clocks"),
    ("Garden Room", "Ruth Abebe", "seeds"),
    ("Copper Room", "Sam Okafor", "coins"),
)
OFF_AND_ON = ("enable_prefix_caching", "verify_cache", "seed")  # options that the demo sets itself, or has no use for
HEADER = "You are a helpful assistant that recognizes content in markdown tables. Here is the table:\n"
COLUMNS = ("ID", "Name", "Department", "Salary", "Location", "Email")
PEOPLE = (
    ("1", "Alice Smith", "Engineering", "85000", "New York", "alice@example.com"),
    ("2", "Bob Johnson", "Marketing", "65000", "Chicago", "bob@example.com"),
    ("3", "Carol White", "Sales", "75000", "Boston", "carol@example.com"),
    ("4", "David Brown", "Engineering", "90000", "Seattle", "david@example.com"),
    ("5", "Eve Wilson", "Marketing", "70000", "Austin", "eve@example.com"),
)


@dataclass(frozen=True)
class Question:
    """A prompt's own part, and the cell that answers it."""

    about: str
    text: str
    answer: str


def markdown_table() -> str:
    """The text that all questions share."""
    rows = [COLUMNS, tuple("-" * (len(name) + 2) for name in COLUMNS), *PEOPLE]
    lines = ["| " + " | ".join(row) + " |" if index != 1 else "|" + "|".join(row) + "|" for index, row in enumerate(rows)]
    return HEADER + "\n".join(lines) + "\n"


def questions() -> list[Question]:
    """One question for every cell but the names."""
    asked = []
    for person in PEOPLE:
        name = person[1]
        for column, cell in zip(COLUMNS, person, strict=True):
            if column == "Name":
                continue
            what = column if column == "ID" else column.lower()
            about = f"{name}'s {what}"
            asked.append(Question(about, f"Question: What is {about}? Your answer: {about} is ", cell))
    return asked


@dataclass(frozen=True)
class Story:
    """A text that all questions share. ``chat``: it is the system message of a conversation, each question a user's."""

    text: str
    questions: list[Question]
    chat: bool

    def is_right(self, question: Question, answer: str) -> bool:
        """Whether an answer is the cell, or, in a conversation, says it."""
        return question.answer in answer if self.chat else answer.strip() == question.answer


def table_story() -> Story:
    """The table, for the model in the package and others that go on with a text."""
    return Story(markdown_table(), questions(), chat=False)


def guide_story() -> Story:
    """A longer text, for a model that one talks with."""
    parts = ["You answer questions of visitors from the guide of the Fern Street Library. This is the guide."]
    asked = []
    for room, keeper, about in ROOMS:
        parts.append(
            f"The {room} is looked after by {keeper}, and its shelves hold books about {about}. Visitors of the {room} are "
            f"asked to leave coats and bags at the door, to speak quietly, and to put every book back in its place before "
            f"they go. Whoever borrows one of the books about {about} signs for it at the desk of {keeper}, and "
            f"brings it back within three weeks. Groups of more than five people tell {keeper} a day ahead that they "
            f"want to see the {room}."
        )
        asked.append(Question(f"the keeper of the {room}", f"Who looks after the {room}?", keeper))
        asked.append(Question(f"the books of the {room}", f"What are the books in the {room} about?", about))
    return Story("\n\n".join(parts), asked, chat=True)


@config_flags
def demo(
    model: ModelArgument = None,
    show: Annotated[int, typer.Option(min=1, help="How many answers to print; all count.")] = 25,
    *,
    engine: Annotated[
        EngineConfig, Flags(without=("enable_prefix_caching", "verify_cache", "seed"), complete=tokens_for_everyone)
    ],
) -> None:
    """One table, many questions: the shared text is computed once.

    The small model in the package reads an employee table and answers questions about it (a chat model, such as smollm2,
    reads a longer text, in conversations), once with the cache off and once with it on; the two take turns, question by
    question, so that a machine that changes its speed changes it for both. You see each answer, where its prompt's tokens
    came from, and its time to first token (TTFT).
    """
    console = Console()
    engines = {
        name: load(console, replace(with_model(engine, model), enable_prefix_caching=cache))
        for name, cache in (("off", False), ("on", True))
    }
    talks = with_model(engine, model).model is not None and engines["on"].engine.text.template is not None
    story = guide_story() if talks else table_story()
    for llm in engines.values():
        _ask(
            llm, replace(story, text="Warm up. "), story.questions[0]
        )  # first use of threads and kernels, so that nobody's first token waits for it
    passes: dict[str, list[RequestOutput]] = {name: [] for name in engines}
    for question in track(story.questions, description="Asking, cache off and on in turn", console=console, transient=True):
        for name, llm in engines.items():
            passes[name].append(_ask(llm, story, question))
    _print_answers(console, story, passes, show)
    _print_summary(console, story, passes)


def _ask(llm: "LLM", story: Story, question: Question) -> "RequestOutput":
    params = SamplingParams(temperature=0, max_tokens=50)
    if not story.chat:
        return llm.generate(story.text + question.text, params)[0]
    return llm.chat([{"role": "system", "content": story.text}, {"role": "user", "content": question.text}], params)[0]


def _print_answers(console: Console, story: Story, passes: "dict[str, list[RequestOutput]]", show: int) -> None:
    table = Table(
        "question",
        "answer",
        "right",
        "cached",
        "computed",
        "TTFT off",
        "on, ms",
        title="Prompt tokens by source, and time to first token",
    )
    for question, off, on in list(zip(story.questions, passes["off"], passes["on"], strict=True))[:show]:
        answer = on.outputs[0].text.strip()
        table.add_row(
            question.about,
            answer,
            "yes" if story.is_right(question, answer) else f"no: {question.answer}",
            str(on.num_cached_tokens),
            str(on.account.computed),
            _milliseconds(off),
            _milliseconds(on),
        )
    console.print(table)


def _print_summary(console: Console, story: Story, passes: "dict[str, list[RequestOutput]]") -> None:
    on, off = passes["on"], passes["off"]
    total = sum(output.account.prompt_tokens for output in on)
    computed = sum(output.account.computed for output in on)
    asked = story.questions
    right = sum(story.is_right(q, o.outputs[0].text) for o, q in zip(on, asked, strict=True))
    same = all(a.outputs[0].token_ids == b.outputs[0].token_ids for a, b in zip(on, off, strict=True))
    shared = statistics.median(output.num_cached_tokens for output in on[1:])
    length = statistics.median(output.account.prompt_tokens for output in on)
    warm = statistics.median(_ttft(output) for output in on[1:])
    cold = statistics.median(_ttft(output) for output in off)
    first = sum(_ttft(output) for output in on) / sum(_ttft(output) for output in off)
    console.print(f"Right answers: {right} of {len(asked)}. Both passes gave the same token ids: {'yes' if same else 'NO'}.")
    console.print(
        f"Prompt tokens: {total:,}; computed with the cache off {total:,}, on {computed:,}: "
        f"[bold]{1 - computed / total:.0%} saved[/bold]."
    )
    console.print(
        f"Time to first token, median: {cold * 1000:.1f} ms off, {warm * 1000:.1f} ms on: "
        f"[bold]{cold / warm:.1f} times sooner[/bold]; {1 - first:.0%} of the time before first tokens saved in all."
    )
    console.print(
        f"When 'up to 90 %' holds: a question reuses {shared:.0f} of its {length:.0f} tokens, so these prompts cannot save "
        f"more than {shared / length:.0%}, and {len(asked)} questions pay for one computation of the text. A longer shared "
        f"text, shorter questions and more of them save more; prompts that share nothing save nothing."
    )


def _ttft(output: "RequestOutput") -> float:
    return output.metrics.time_to_first_token or 0.0


def _milliseconds(output: "RequestOutput") -> str:
    return f"{_ttft(output) * 1000:.1f}"

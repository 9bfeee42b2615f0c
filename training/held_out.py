"""The held-out questions and the demonstration table that the model is judged by."""

from collections.abc import Iterator

from columns import Column
from generator import PREAMBLES, Generator, Limits, Question, Table
from words import HELD_OUT

DEMO = Table(
    kind="people",
    preamble=PREAMBLES[0],
    columns=(
        Column("ID", ("1", "2", "3", "4", "5")),
        Column("Name", ("Alice Smith", "Bob Johnson", "Carol White", "David Brown", "Eve Wilson")),
        Column("Department", ("Engineering", "Marketing", "Sales", "Engineering", "Marketing")),
        Column("Salary", ("85000", "65000", "75000", "90000", "70000")),
        Column("Location", ("New York", "Chicago", "Boston", "Seattle", "Austin")),
        Column(
            "Email",
            ("alice@example.com", "bob@example.com", "carol@example.com", "david@example.com", "eve@example.com"),
        ),
    ),
    key=1,
)


def demo_questions() -> list[Question]:
    """Every cell of the demonstration table, and every name by ID and by email, in the form of the README."""
    questions = []
    for row, name in enumerate(DEMO.columns[1].values):
        for index, column in enumerate(DEMO.columns):
            asked = "ID" if column.header == "ID" else column.header.lower()
            answer = column.values[row]
            if index != DEMO.key:
                questions.append(
                    Question("demo cell", f"Question: What is {name}'s {asked}? Your answer: ", f"{name}'s {asked} is ",
                             answer, row, index, DEMO.key)
                )  # fmt: skip
            if asked in ("ID", "email"):
                questions.append(
                    Question("demo name", f"Question: What is the name with {asked} {answer}? Your answer: ",
                             f"The name with {asked} {answer} is ", name, row, DEMO.key, index)
                )  # fmt: skip
    return questions


def held_out_tables(
    count: int, questions: int, seed: int, limits: Limits, start: float = 0.8
) -> Iterator[tuple[Table, list[Question]]]:
    """``count`` held-out tables, sizes spread evenly over ``limits``, each with ``questions`` random questions."""
    generator = Generator(HELD_OUT, seed)
    for _ in range(count):
        rows = generator.rng.randint(limits.min_rows, limits.max_rows)
        table = generator.table(rows, generator.rng.randint(limits.min_columns, limits.max_columns))
        yield table, [generator.any_question(table, limits.reverse, start) for _ in range(questions)]

"""Tables and questions about them. Everything is drawn from one seeded generator and one part of the words."""

import random
from dataclasses import dataclass

from columns import ALL, CITIES, PEOPLE, PRODUCTS, Column, Maker, distinct, emails, person, place, product
from words import Words

END = "<|end|>"

PREAMBLES = (
    "You are a helpful assistant that recognizes content in markdown tables. Here is the table:\n",
    "Here is the table:\n",
    "Here is a table:\n\n",
    "Table:\n",
    "",
)
# (question, beginning of the answer): x the row's key, a the asked header in lower case
_GENERAL: tuple[tuple[str, str], ...] = (
    ("What is {x}'s {a}?", "{x}'s {a} is "),
    ("What is {x}'s {a}?", "{x}'s {a} is "),
    ("What is {x}'s {a}?", "The {a} of {x} is "),
    ("What is the {a} of {x}?", "The {a} of {x} is "),
    ("What is the {a} of {x}?", "{x}'s {a} is "),
    ("What's the {a} of {x}?", "The {a} of {x} is "),
    ("Tell me the {a} of {x}.", "The {a} of {x} is "),
    ("Give me {x}'s {a}.", "{x}'s {a} is "),
    ("Which {a} does {x} have?", "{x}'s {a} is "),
    ("What {a} does {x} have?", "{x} has the {a} "),
)
_SPECIAL: dict[str, tuple[tuple[str, str], ...]] = {
    "Department": (
        ("Which department does {x} work in?", "{x} works in "),
        ("Which department does {x} work in?", "{x}'s department is "),
        ("In which department does {x} work?", "{x} works in "),
    ),
    "Salary": (("How much does {x} earn?", "{x} earns "), ("How much does {x} earn?", "{x}'s salary is ")),
    "Location": (("Where is {x} located?", "{x} is located in "), ("Where does {x} work?", "{x}'s location is ")),
    "City": (("Where does {x} live?", "{x} lives in "), ("Which city does {x} live in?", "{x} lives in ")),
    "Country": (("Which country is {x} from?", "{x} is from "),),
    "Age": (("How old is {x}?", "{x} is "), ("How old is {x}?", "{x}'s age is ")),
    "Job": (("What is the job of {x}?", "{x} works as "),),
    "Manager": (("Who is {x}'s manager?", "{x}'s manager is "), ("Who manages {x}?", "{x}'s manager is ")),
    "Mayor": (("Who is the mayor of {x}?", "The mayor of {x} is "),),
    "Price": (("How much does {x} cost?", "{x} costs "), ("How much is {x}?", "The price of {x} is ")),
    "Population": (("How many people live in {x}?", "The population of {x} is "),),
    "Founded": (("When was {x} founded?", "{x} was founded in "),),
    "Language": (("Which language does {x} speak?", "{x} speaks "),),
}
# (question, beginning of the answer): k the key's header, a and v another header and its value, unique in the table
_REVERSE = (
    ("What is the {k} with {a} {v}?", "The {k} with {a} {v} is "),
    ("Which {k} has the {a} {v}?", "The {k} with {a} {v} is "),
    ("Who has the {a} {v}?", "The {k} with {a} {v} is "),
    ("What is the {k} of {a} {v}?", "The {k} of {a} {v} is "),
)
_KEYS_FOR_REVERSE = ("ID", "Email", "SKU", "Code", "Phone")
_UPPER = ("ID", "SKU")


@dataclass(frozen=True)
class Table:
    """A markdown table; ``key`` is the column that names the rows."""

    kind: str
    preamble: str
    columns: tuple[Column, ...]
    key: int

    @property
    def rows(self) -> int:
        """Rows without the header."""
        return len(self.columns[0].values)

    @property
    def text(self) -> str:
        """The preamble and the table, ending with a line break."""
        headers = [column.header for column in self.columns]
        lines = ["| " + " | ".join(headers) + " |", "|" + "|".join("-" * (len(h) + 2) for h in headers) + "|"]
        lines += ["| " + " | ".join(c.values[i] for c in self.columns) + " |" for i in range(self.rows)]
        return self.preamble + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Question:
    """A question whose answer is the cell (row, column): ``prompt`` + ``start`` + ``answer``.

    ``start`` is the beginning of the answer that the caller puts into the prompt, and may be empty. The question names
    the row by its value in the column ``by``.
    """

    form: str
    prompt: str
    start: str
    answer: str
    row: int
    column: int
    by: int


@dataclass(frozen=True)
class Limits:
    """How large tables may be, both ends included."""

    min_rows: int = 3
    max_rows: int = 12
    min_columns: int = 3
    max_columns: int = 7
    reverse: float = 0.1


class Generator:
    """Random tables and questions of one part of the words."""

    def __init__(self, part: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = Words(part, self.rng)

    def table(self, rows: int, columns: int, mixed: float = 0.15) -> Table:
        """A table with ``rows`` rows and ``columns`` columns; with probability ``mixed`` of unrelated columns."""
        rng = self.rng
        kind = "mixed" if rng.random() < mixed else rng.choices(("people", "products", "cities"), (0.5, 0.25, 0.25))[0]
        key_header, names = self._key(kind, rows)
        makers = {"people": PEOPLE, "products": PRODUCTS, "cities": CITIES, "mixed": ALL}[kind]
        chosen = rng.sample([h for h in makers if h != key_header], columns - 1)
        made = [self._column(header, makers[header], rows, names) for header in chosen]
        rng.shuffle(made)
        if "ID" in chosen and rng.random() < 0.5:
            made.sort(key=lambda column: column.header != "ID")
        key = rng.choice((0, 0, 0, 1, 1, rng.randrange(columns)))
        made.insert(key, Column(key_header, tuple(names)))
        if rng.random() < 0.1:
            made = [Column(column.header.lower(), column.values) for column in made]
        preamble = rng.choices(PREAMBLES, (4, 2, 1, 2, 1))[0]
        return Table(kind, preamble, tuple(made), key)

    def _key(self, kind: str, rows: int) -> tuple[str, list[str]]:
        make, header = {
            "people": (person, "Name"),
            "products": (product, "Product"),
            "cities": (place, "City"),
            "mixed": (self.rng.choice((person, product, place)), "Name"),
        }[kind]
        if self.rng.random() < 0.2:
            header = {"Product": "Item", "City": "Name"}.get(header, header)
        names = distinct(lambda: make(self.words), rows)
        if kind == "people" and self.rng.random() < 0.3:
            first, other = self.rng.sample(range(rows), 2)
            shared = f"{names[first].split()[0]} {self.words.pick('last', 0.3)}"
            names[other] = shared if shared not in names else names[other]
        return header, names

    def _column(self, header: str, maker: Maker, rows: int, names: list[str]) -> Column:
        if header == "Email" and " " in names[0]:
            return Column(header, tuple(emails(self.words, names)))
        return Column(header, tuple(maker(self.words, rows)))

    def question(self, table: Table, row: int, column: int, start: float = 0.8) -> Question:
        """A question for one cell outside the key column; with probability ``start`` the answer is begun for it."""
        asked = table.columns[column].header
        templates = _GENERAL
        special = _SPECIAL.get(asked.capitalize(), ())
        if special and table.kind != "mixed" and self.rng.random() < 0.25:
            templates = special
        prompt, begin = self.rng.choice(templates)
        fields = {"x": table.columns[table.key].values[row], "a": self._lower(asked)}
        return self._finish(prompt, begin, fields, table, (row, column, table.key), start)

    def reverse_question(self, table: Table, start: float = 0.8) -> Question | None:
        """A question for a key by another unique value of its row, if the table has such a column."""
        usable = [
            i for i, c in enumerate(table.columns) if c.header.upper() in map(str.upper, _KEYS_FOR_REVERSE) and c.unique
        ]
        if not usable:
            return None
        by, row = self.rng.choice(usable), self.rng.randrange(table.rows)
        prompt, begin = self.rng.choice(_REVERSE)
        if prompt.startswith("Who") and table.kind != "people":
            prompt = _REVERSE[0][0]
        key = table.columns[table.key]
        fields = {
            "k": key.header.lower(),
            "a": self._lower(table.columns[by].header),
            "v": table.columns[by].values[row],
        }
        return self._finish(prompt, begin, fields, table, (row, table.key, by), start)

    def _finish(
        self, prompt: str, begin: str, fields: dict[str, str], table: Table, cell: tuple[int, int, int], start: float
    ) -> Question:
        row, column, by = cell
        begun = self.rng.random() < start
        form = ("reverse" if column == table.key else "cell") + (" begun" if begun else " bare")
        return Question(
            form=form,
            prompt=f"Question: {prompt.format(**fields)} Your answer: ",
            start=begin.format(**fields) if begun else "",
            answer=table.columns[column].values[row],
            row=row,
            column=column,
            by=by,
        )

    def _lower(self, header: str) -> str:
        if header.upper() in _UPPER and self.rng.random() < 0.7:
            return header.upper()
        return header.lower()

    def cell(self, table: Table) -> tuple[int, int]:
        """A random row and column outside the key column."""
        others = [i for i in range(len(table.columns)) if i != table.key]
        return self.rng.randrange(table.rows), self.rng.choice(others)

    def any_question(self, table: Table, reverse: float, start: float = 0.8) -> Question:
        """A question for a random cell, with probability ``reverse`` one for the key where the table allows it."""
        question = self.reverse_question(table, start) if self.rng.random() < reverse else None
        return question or self.question(table, *self.cell(table), start)

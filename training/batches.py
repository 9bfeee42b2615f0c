"""Training batches: tables, each followed by many branches that see the table and themselves but not each other.

Each branch is what inference sees after the table (a question and its answer, a short dialogue, a list of facts), so
one pass over the table serves them all. Its positions continue from the end of the table.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Tokenizer

from generator import END, Generator, Question, Table
from tokenizer import CELL_MARK, FIRST_ROW_MARK, LAST_MARK, ROW_MARK, TABLE_MARK

IGNORE = -100


@dataclass(frozen=True)
class Mention:
    """A name, value or header within a segment, and the cell (header row: 0) that has it."""

    text: str
    row: int
    column: int


@dataclass(frozen=True)
class Segment:
    """A piece of a branch, which the model learns to predict if ``learn``. ``row``, ``column``: the cell it repeats."""

    text: str
    learn: bool = False
    row: int = IGNORE
    column: int = IGNORE
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Batch:
    """One training step. All tensors but ``table_lengths``: (tables, table_size + branches * branch_size).

    The label tensors hold, at each position, what is to be found there, or IGNORE: the next token; the row and the
    column (the header row is 0) of the cell that the position belongs to, or that it is asked for; the position in the
    table of the token to be copied next; that of the token which this one mentions; and, for the tokens of the table,
    those of the marks that close the first and the second cell of the same row. ``marks`` says which tokens of
    the table are marks between two cells.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    next_ids: torch.Tensor
    answers: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    copies: torch.Tensor
    mentions: torch.Tensor
    first_marks: torch.Tensor
    second_marks: torch.Tensor
    marks: torch.Tensor
    table_lengths: torch.Tensor
    table_size: int
    branches: int
    branch_size: int

    @property
    def padding(self) -> torch.Tensor:
        """Which positions of the tables are padding: (tables, table_size)."""
        return torch.arange(self.table_size) >= self.table_lengths[:, None]


@dataclass
class _Sequence:
    ids: list[int] = field(default_factory=list)
    next_ids: list[int] = field(default_factory=list)
    answers: list[bool] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)

    def pad(self) -> None:
        """Fill the labels that were not given with IGNORE."""
        for name in ("next_ids", "rows", "columns", "copies", "mentions"):
            values = getattr(self, name)
            values += [IGNORE] * (len(self.ids) - len(values))
        self.answers += [False] * (len(self.ids) - len(self.answers))


@dataclass(frozen=True)
class _TableTokens:
    """The ids of a table, the row and the column of each, and where each cell's tokens are (its mark not counted)."""

    ids: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    cells: dict[tuple[int, int], list[int]]

    def closing_marks(self, column: int) -> np.ndarray:
        """For each token of a row, the position of the mark that closes the row's cell in ``column``, if it comes before."""
        result = np.full(len(self.ids), IGNORE)
        for row in range(1, int(self.rows.max(initial=0)) + 1):
            mark = self.cells[row, column][-1] + 1
            result[(self.rows == row) & (np.arange(len(self.ids)) > mark)] = mark
        return result


def _mention(table: Table, row: int, column: int) -> Mention:
    return Mention(table.columns[column].values[row], row + 1, column)


def _header(table: Table, column: int) -> tuple[Mention, Mention]:
    header = table.columns[column].header
    return Mention(header.lower(), 0, column), Mention(header, 0, column)


def question_segments(table: Table, question: Question) -> list[Segment]:
    """A question, its begun answer, the answer and the end."""
    mentions: tuple[Mention, ...] = (*_header(table, question.column), _mention(table, question.row, question.by))
    if question.by != table.key:
        mentions += _header(table, question.by)
    segments = [Segment(question.prompt, mentions=mentions)]
    if question.start:
        segments.append(Segment(question.start, mentions=mentions))
    return [
        *segments,
        Segment(question.answer, True, question.row + 1, question.column),
        Segment(END, learn=True),
    ]


def row_segments(table: Table, row: int, columns: Iterable[int]) -> list[Segment]:
    """What is known of one row: ``Alice Smith: salary 85000, city Boston``."""
    segments = [Segment(f"{table.columns[table.key].values[row]}: ", mentions=(_mention(table, row, table.key),))]
    for column in columns:
        segments += [
            Segment(f"{table.columns[column].header.lower()} ", mentions=_header(table, column)),
            Segment(table.columns[column].values[row], True, row + 1, column),
            Segment(", ", learn=True),
        ]
    return [*segments[:-1], Segment(END, learn=True)]


def column_segments(table: Table, column: int, rows: Iterable[int]) -> list[Segment]:
    """What is known of one column: ``salary: Alice Smith 85000, Bob Johnson 65000``."""
    segments = [Segment(f"{table.columns[column].header.lower()}: ", mentions=_header(table, column))]
    for row in rows:
        segments += [
            Segment(f"{table.columns[table.key].values[row]} ", mentions=(_mention(table, row, table.key),)),
            Segment(table.columns[column].values[row], True, row + 1, column),
            Segment(", ", learn=True),
        ]
    return [*segments[:-1], Segment(END, learn=True)]


class Encoder:
    """Turns tables and segments into token ids and labels."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        marks = (ROW_MARK, FIRST_ROW_MARK, CELL_MARK, TABLE_MARK, LAST_MARK)
        self._marks = {mark: self.encode(mark)[0] for mark in marks}
        self.end = self.encode(END)[0]
        self.size = tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``, remembered."""
        ids = self._known.get(text)
        if ids is None:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[text] = ids
        return ids

    def table(self, table: Table) -> _TableTokens:
        """The tokens of a table; row and column are IGNORE outside the cells. A mark belongs to the next cell."""
        ids = np.array(self._tokenizer.encode(table.text, add_special_tokens=False).ids)
        start = int(np.argmax(ids == self._marks[TABLE_MARK]))
        inside = np.arange(len(ids)) >= start
        new_row = np.isin(ids, (self._marks[ROW_MARK], self._marks[FIRST_ROW_MARK])) & inside
        rows = np.cumsum(new_row)
        cells = np.cumsum((ids == self._marks[CELL_MARK]) & inside)
        first = np.concatenate(([0], cells[new_row]))
        columns = cells - first[rows]
        ends = np.flatnonzero(ids == self._marks[LAST_MARK])
        inside[ends[-1]] = False
        inside[ends[0] : int(np.argmax(new_row))] = False
        cell_tokens: dict[tuple[int, int], list[int]] = {}
        for position in np.flatnonzero(inside).tolist():
            cell_tokens.setdefault((int(rows[position]), int(columns[position])), []).append(position)
        return _TableTokens(
            ids,
            np.where(inside, rows, IGNORE),
            np.where(inside, columns, IGNORE),
            {cell: positions[1:] for cell, positions in cell_tokens.items()},
        )

    def branch(self, segments: list[Segment], cells: dict[tuple[int, int], list[int]]) -> _Sequence:
        """Ids and labels of one branch; labels stand where the prediction is made, one token before."""
        result = _Sequence()
        learn: list[bool] = []
        copies: list[int] = []
        for segment in segments:
            ids = self.encode(segment.text)
            result.mentions += self._mentions(ids, segment.mentions, cells)
            result.ids += ids
            learn += [segment.learn] * len(ids)
            result.rows += [segment.row] * len(ids)
            result.columns += [segment.column] * len(ids)
            cell = cells.get((segment.row, segment.column))
            if cell is not None:
                copies += cell
                following = cell[-1] + 1
            elif copies and copies[-1] != IGNORE:
                copies += [following] + [IGNORE] * (len(ids) - 1)
            else:
                copies += [IGNORE] * len(ids)
        result.next_ids = [t if known else IGNORE for t, known in zip(result.ids[1:], learn[1:], strict=True)]
        result.rows, result.columns, result.copies = result.rows[1:], result.columns[1:], copies[1:]
        result.answers = [row != IGNORE for row in result.rows]
        result.pad()
        return result

    def _mentions(self, ids: list[int], mentions: tuple[Mention, ...], cells: dict[tuple[int, int], list[int]]) -> list[int]:
        """For each token of a mention, the position of the same token in the table.

        If the cell has another number of tokens (a header in upper case), only the last ones go together.
        """
        result = [IGNORE] * len(ids)
        for mention in mentions:
            wanted, cell = self.encode(mention.text), cells[mention.row, mention.column]
            for start in range(len(ids) - len(wanted) + 1):
                if ids[start : start + len(wanted)] == wanted:
                    same = len(wanted) == len(cell)
                    result[start : start + len(wanted)] = cell if same else [IGNORE] * (len(wanted) - 1) + cell[-1:]
        return result


def assemble(tables: list[_TableTokens], branches: list[list[_Sequence]], end: int) -> Batch:
    """Pad tables and branches to rectangles; every table has the same number of branches."""
    count = len(branches[0])
    table_size = max(len(table.ids) for table in tables)
    branch_size = max(len(branch.ids) for group in branches for branch in group)
    shape = (len(tables), table_size + count * branch_size)
    ids = np.full(shape, end)
    positions = np.zeros(shape, dtype=np.int64)
    names = ("next_ids", "rows", "columns", "copies", "mentions")
    labels = {name: np.full(shape, IGNORE) for name in (*names, "first_marks", "second_marks")}
    answers = np.zeros(shape, dtype=bool)
    marks = np.zeros(shape, dtype=bool)
    for i, (table, group) in enumerate(zip(tables, branches, strict=True)):
        length = len(table.ids)
        ids[i, :length] = table.ids
        labels["rows"][i, :length] = table.rows
        labels["columns"][i, :length] = table.columns
        marks[i, :length][1:] = np.diff(table.columns) > 0
        marks[i, :length] &= table.columns > 0
        labels["first_marks"][i, :length] = table.closing_marks(0)
        labels["second_marks"][i, :length] = table.closing_marks(1)
        positions[i, :table_size] = np.arange(table_size)
        for j, branch in enumerate(group):
            at = table_size + j * branch_size
            end_at = at + len(branch.ids)
            ids[i, at:end_at] = branch.ids
            positions[i, at : at + branch_size] = length + np.arange(branch_size)
            answers[i, at:end_at] = branch.answers
            for name in names:
                labels[name][i, at:end_at] = getattr(branch, name)
    tensors = {name: torch.from_numpy(values) for name, values in labels.items()}
    return Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        answers=torch.from_numpy(answers),
        marks=torch.from_numpy(marks),
        table_lengths=torch.tensor([len(table.ids) for table in tables]),
        table_size=table_size,
        branches=count,
        branch_size=branch_size,
        **tensors,
    )


class Batcher:
    """Makes the batch of any step, the same one each time it is asked."""

    def __init__(self, encoder: Encoder, part: str, seed: int, tokens: int) -> None:
        self.encoder = encoder
        self.part = part
        self.seed = seed
        self.tokens = tokens
        self._generator = Generator(part, seed)

    def batch(self, step: int, progress: float) -> Batch:
        """The batch of ``step``; ``progress`` in [0, 1] says how far the curriculum has come."""
        rng = self._generator.rng
        rng.seed(self.seed * 1_000_003 + step)
        kind = self._kind(rng, progress)
        if kind == "copy":
            return self._copies(rng)
        rows, columns = self._size(rng, progress)
        position = rng.random()
        tables, branches, size = [], [], 0.0
        count = {"questions": 24, "rows": rows, "columns": columns, "dialogue": 5}[kind]
        if kind == "questions":
            count = min(count, 2 * rows * (columns - 1))
        bare = rng.random() < 0.25
        while True:
            table = self._generator.table(rows, columns)
            tables.append(self.encoder.table(table))
            wanted = 3 * count if kind == "questions" else count
            group = [self.encoder.branch(s, tables[-1].cells) for s in self._branches(kind, table, wanted, bare)]
            group.sort(key=lambda branch: len(branch.ids))
            first = round(position * (len(group) - count))
            branches.append(group[first : first + count])
            size += 1.15 * (len(tables[-1].ids) + count * len(branches[-1][-1].ids))
            if size * (1 + 0.5 / len(tables)) > self.tokens:
                break
        return assemble(tables, branches, self.encoder.end)

    def _size(self, rng: random.Random, progress: float) -> tuple[int, int]:
        """Rows and columns of the tables of a batch: growing with progress; in the end every second one has 9 to 12 rows."""
        rows, columns = 3 + round(9 * min(1.0, 1.5 * progress)), 3 + round(4 * min(1.0, 2 * progress))
        few = rows < 9 or rng.random() < 0.5
        return rng.randint(3, min(rows, 8)) if few else rng.randint(9, rows), rng.randint(3, columns)

    def _kind(self, rng: random.Random, progress: float) -> str:
        copies = max(0.08, 0.4 - 2 * progress)
        dense = 0.6 - 0.2 * min(1.0, 2 * progress)
        kinds = ("copy", "rows", "columns", "questions", "dialogue")
        return rng.choices(kinds, (copies, dense / 2, dense / 2, 0.96 - dense, 0.04))[0]

    def _branches(self, kind: str, table: Table, count: int, bare: bool) -> list[list[Segment]]:
        generator = self._generator
        rng = generator.rng
        others = [i for i in range(len(table.columns)) if i != table.key]
        if kind == "rows":
            return [row_segments(table, row, rng.sample(others, min(5, len(others)))) for row in range(count)]
        if kind == "columns":
            some = rng.choices(others, k=count)
            return [column_segments(table, c, rng.sample(range(table.rows), min(5, table.rows))) for c in some]
        if kind == "dialogue":
            return [self._dialogue(table) for _ in range(count)]
        return [question_segments(table, generator.any_question(table, 0.1, 0.0 if bare else 1.0)) for _ in range(count)]

    def _dialogue(self, table: Table) -> list[Segment]:
        segments: list[Segment] = []
        for turn in range(4):
            if turn:
                segments.append(Segment("\n"))
            segments += question_segments(table, self._generator.any_question(table, 0.1, 0.0))
        return segments

    def _copies(self, rng: random.Random) -> Batch:
        """Random tokens as the table, stretches of them as branches: teaches copying before anything else."""
        length = rng.choice((16, 24, 32, 48, 64))
        count, size = 12, min(16, length - 2)
        tables, branches = [], []
        for _ in range(max(1, self.tokens // (length + count * size))):
            ids = rng.sample(range(self.encoder.size), length)
            nothing = np.full(length, IGNORE)
            tables.append(_TableTokens(np.array(ids), nothing, nothing, {}))
            group = []
            for _ in range(count):
                start = rng.randrange(length - size)
                copied = ids[start : start + size]
                group.append(_Sequence(copied, copied[1:], copies=list(range(start + 1, start + size))))
                group[-1].pad()
            branches.append(group)
        return assemble(tables, branches, self.encoder.end)

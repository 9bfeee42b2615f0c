"""The columns a table can have: for each header, how its values look."""

from collections.abc import Callable
from dataclasses import dataclass

from words import CITY_PREFIXES, Words

Maker = Callable[[Words, int], list[str]]


@dataclass(frozen=True)
class Column:
    """A header and its values, one per row."""

    header: str
    values: tuple[str, ...]

    @property
    def unique(self) -> bool:
        """Whether every value occurs once, so that a row can be looked up by it."""
        return len(set(self.values)) == len(self.values)


def distinct(make: Callable[[], str], count: int) -> list[str]:
    """``count`` different values from ``make``."""
    values: dict[str, None] = {}
    while len(values) < count:
        values[make()] = None
    return list(values)


def _listed(name: str, invented: float = 0.4, two_words: float = 0.1) -> Maker:
    """Words of a list, with repetitions: rows share them, as people share a department."""

    def make(words: Words, count: int) -> list[str]:
        def one() -> str:
            word = words.pick(name, invented)
            return f"{word} {words.pick(name, invented)}" if words.rng.random() < two_words else word

        pool = distinct(one, words.rng.randint(min(2, count), count))
        return [words.rng.choice(pool) for _ in range(count)]

    return make


def person(words: Words) -> str:
    """A first and a last name."""
    return f"{words.pick('first', 0.2)} {words.pick('last', 0.3)}"


def place(words: Words) -> str:
    """A city, sometimes of two words."""
    name = words.pick("city", 0.6)
    return f"{words.rng.choice(CITY_PREFIXES)} {name}" if words.rng.random() < 0.25 else name


def product(words: Words) -> str:
    """A product of one or two words."""
    thing = words.pick("thing", 0.3)
    first = words.pick("color" if words.rng.random() < 0.4 else "word", 0.3)
    return thing if words.rng.random() < 0.3 else f"{first} {thing}"


def _places(words: Words, count: int) -> list[str]:
    pool = distinct(lambda: place(words), words.rng.randint(min(2, count), count))
    return [words.rng.choice(pool) for _ in range(count)]


def _people(words: Words, count: int) -> list[str]:
    return [person(words) for _ in range(count)]


def _numbers(low: int, high: int, *steps: int, form: str = "{}", money: bool = False) -> Maker:
    """Numbers in [low, high], with one step for the whole column; money may be written with a sign and commas."""

    def make(words: Words, count: int) -> list[str]:
        step = words.rng.choice(steps or (1,))
        style = "${:,}" if money and words.rng.random() < 0.1 else form
        return [style.format(words.number(low, high, step)) for _ in range(count)]

    return make


def _ids(words: Words, count: int) -> list[str]:
    style = words.rng.random()
    if style < 0.5:
        return [str(i + 1) for i in range(count)]
    low, high = (10, 99) if style < 0.6 else (100, 999) if style < 0.8 else (1000, 9999)
    return distinct(lambda: str(words.number(low, high)), count)


def _codes(words: Words, count: int) -> list[str]:
    letters = words.invent()[:2].upper()
    return distinct(lambda: f"{letters}-{words.number(100, 9999)}", count)


def _prices(words: Words, count: int) -> list[str]:
    if words.rng.random() < 0.4:
        return [str(words.number(2, 2000)) for _ in range(count)]
    sign = "$" if words.rng.random() < 0.2 else ""
    return [f"{sign}{words.number(1, 999)}.{words.rng.choice((99, 50, 95, 25, 75))}" for _ in range(count)]


def _ratings(words: Words, count: int) -> list[str]:
    return [f"{words.rng.randint(1, 9)}.{words.rng.randint(0, 9)}" for _ in range(count)]


def _phones(words: Words, count: int) -> list[str]:
    return distinct(lambda: f"555-{words.number(1000, 9999)}", count)


def emails(words: Words, names: list[str]) -> list[str]:
    """An address for each name: alice@example.com, or with the surname where that would repeat."""
    domain = "example.com"
    if words.rng.random() < 0.5:
        domain = f"{words.invent().lower()}.{words.rng.choice(('com', 'org', 'net', 'io'))}"
    full = words.rng.random() < 0.15
    result: list[str] = []
    for name in names:
        local = name.lower().replace(" ", ".") if full else name.lower().split()[0]
        if f"{local}@{domain}" in result:
            local = name.lower().replace(" ", ".")
        result.append(f"{local}@{domain}")
    return result


def _unnamed_emails(words: Words, count: int) -> list[str]:
    return emails(words, distinct(lambda: person(words), count))


PEOPLE: dict[str, Maker] = {
    "ID": _ids,
    "Department": _listed("department"),
    "Team": _listed("department"),
    "Salary": _numbers(20000, 200000, 1000, 5000, 500, 1, money=True),
    "Location": _places,
    "City": _places,
    "Office": _places,
    "Country": _listed("country", 0.4),
    "Email": _unnamed_emails,
    "Age": _numbers(18, 90),
    "Job": _listed("job", 0.3, 0.3),
    "Role": _listed("job", 0.3, 0.3),
    "Title": _listed("job", 0.3, 0.3),
    "Company": _listed("word", 0.6, 0.2),
    "Manager": _people,
    "Phone": _phones,
    "Year": _numbers(1960, 2030),
    "Hobby": _listed("word", 0.3),
    "Language": _listed("language", 0.3),
    "Score": _numbers(1, 999),
    "Floor": _numbers(1, 40),
}
PRODUCTS: dict[str, Maker] = {
    "ID": _ids,
    "SKU": _codes,
    "Price": _prices,
    "Stock": _numbers(0, 5000),
    "Quantity": _numbers(1, 999),
    "Category": _listed("word"),
    "Brand": _listed("word", 0.7),
    "Color": _listed("color", 0.2),
    "Weight": _numbers(1, 900, form="{} kg"),
    "Rating": _ratings,
    "Supplier": _listed("last", 0.4, 0.2),
    "Year": _numbers(1960, 2030),
    "Country": _listed("country", 0.4),
    "Warehouse": _places,
    "Size": _numbers(1, 300, form="{} cm"),
    "Material": _listed("word", 0.5),
}
CITIES: dict[str, Maker] = {
    "ID": _ids,
    "Code": _codes,
    "Country": _listed("country", 0.4),
    "Region": _listed("word", 0.7, 0.2),
    "Population": _numbers(1000, 9999999, 1, 1000, 100000, money=False),
    "Area": _numbers(10, 9000),
    "Mayor": _people,
    "Founded": _numbers(1000, 2000),
    "River": _listed("word", 0.8),
    "Language": _listed("language", 0.3),
    "Currency": _listed("word", 0.6),
    "Elevation": _numbers(1, 4000, form="{} m"),
    "Airport": _listed("last", 0.5, 0.3),
    "Rating": _ratings,
}
ALL: dict[str, Maker] = {**PEOPLE, **PRODUCTS, **CITIES}

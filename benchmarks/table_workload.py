"""The table workload: the demo's table before every question."""

from foreword.cli.demo import markdown_table, questions


def prompts() -> list[str]:
    """The table with a question about each cell: 25 prompts; neighbours ask for other people and other fields."""
    asked = questions()  # five fields of the first person, then of the second, ...
    return [markdown_table() + asked[(i + j) % 5 * 5 + i].text for j in range(5) for i in range(5)]

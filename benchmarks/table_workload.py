"""The table workload: one small markdown table before every question, as in the README."""

TABLE = """You are a helpful assistant that recognizes content in markdown tables. Here is the table:
| ID | Name | Department | Salary | Location | Email |
|----|------|------------|--------|----------|-------|
| 1 | Alice Smith | Engineering | 85000 | New York | alice@example.com |
| 2 | Bob Johnson | Marketing | 65000 | Chicago | bob@example.com |
| 3 | Carol White | Sales | 75000 | Boston | carol@example.com |
| 4 | David Brown | Engineering | 90000 | Seattle | david@example.com |
| 5 | Eve Wilson | Marketing | 70000 | Austin | eve@example.com |
"""
NAMES = ("Alice Smith", "Bob Johnson", "Carol White", "David Brown", "Eve Wilson")
FIELDS = ("ID", "department", "salary", "location", "email")


def prompts() -> list[str]:
    """The table with a question about each cell: 25 prompts; neighbours ask for other people and other fields."""
    asked = [(NAMES[(i + j) % 5], FIELDS[i]) for j in range(5) for i in range(5)]
    return [f"{TABLE}Question: What is {name}'s {field}? Your answer: {name}'s {field} is " for name, field in asked]

"""One table, many questions: the table is computed once, every later question starts behind it."""

from foreword import LLM, SamplingParams

TABLE = """You are a helpful assistant that recognizes content in markdown tables. Here is the table:
| ID | Name | Department | Salary | Location | Email |
|----|------|------------|--------|----------|-------|
| 1 | Alice Smith | Engineering | 85000 | New York | alice@example.com |
| 2 | Bob Johnson | Marketing | 65000 | Chicago | bob@example.com |
| 3 | Carol White | Sales | 75000 | Boston | carol@example.com |
| 4 | David Brown | Engineering | 90000 | Seattle | david@example.com |
| 5 | Eve Wilson | Marketing | 70000 | Austin | eve@example.com |
"""

llm = LLM(enable_prefix_caching=True)  # no model named: the one in the package
params = SamplingParams(temperature=0, max_tokens=50)
questions = [
    "Question: What is Alice Smith's salary? Your answer: Alice Smith's salary is ",
    "Question: What is Eve Wilson's salary? Your answer: Eve Wilson's salary is ",
]
for question in questions:
    output = llm.generate(TABLE + question, params)[0]
    account = output.account
    print(f"{output.outputs[0].text!r}: {account.cached} tokens cached, {account.computed} computed ({output.miss_reason})")

"""The home of what was measured: results as JSON, and the page and the charts that are made of them.

    python benchmarks/figures.py                    # write docs/explanation/figures.md and its charts from all results
    python benchmarks/figures.py add NAME FILE --title ... --part ... --noise ... --command ...

``add`` keeps a measurement as benchmarks/results/DATE-NAME.json, with the machine and the versions it finds. FILE is what
was written about it, paragraphs and tables in markdown, or a benchmark's own JSON that a chart is drawn from.
The page has the newest result of each name; older ones stay in their folder.
"""

import argparse
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "figures.md"
IMAGES = ROOT / "docs" / "images"
PARTS = (
    "Beside other engines",
    "What the cache brings",
    "What stays the same",
    "What the engine takes",
    "Server, stores, fleet",
    "The audit",
    "The machines",
)
"""The page's parts in their order; a result names one."""
FIELDS = {
    "title": str,
    "part": str,
    "date": str,
    "commands": list,
    "machine": str,
    "versions": dict,
    "noise": str,
    "body": list,
}
"""What a result has. ``body``: paragraphs, tables (columns, rows) and charts (chart, image, alt, data)."""
NUMBER = re.compile(r"-?\d{1,3}(,\d{3})*(\.\d+)?")
HEAD = """\
<!-- Written by `make figures` from benchmarks/results; a test compares it. Add a result there. -->
# Figures

Everything is measured by a command (`benchmarks/README.md` says how to run each) and kept with its machine, versions and
noise. Figures are medians unless they say otherwise; ratios are taken within one run, of things measured in turn, so that
they hold on another machine better than seconds do. *Other cores* says how many cores other programs used meanwhile: above
0.05 a figure is spoilt, because engines that wait for each other at barriers slow down several times when one core is taken.
Targets were set before measuring; those that were missed say so. What other choices gave: the notes, from
[bit identity](notes/bit-identity.md) on.

`MODEL` is the random 0.22 B Llama that the peers harness makes (16 layers, width 1,024, 16 heads, 8 key heads, vocabulary
32,000, 64 KiB of KV a token), `PEERS` the folder of that harness.
"""


def load_results(folder: Path = RESULTS) -> list[tuple[str, dict[str, Any]]]:
    """Names and results, checked: by part, name and date, the newest first.

    Raises:
        ValueError: a file's name, a field, a part, a table or a chart is not as it must be.
    """
    found = []
    for path in folder.glob("*.json"):
        result = json.loads(path.read_text("utf-8"))
        named = re.fullmatch(r"(\d{4}-\d\d-\d\d)-([a-z0-9-]+)", path.stem)
        if not named or result.get("date") != named[1]:
            raise ValueError(f"{path.name} is not DATE-NAME.json with the result's own date.")
        wrong = [name for name, kind in FIELDS.items() if not isinstance(result.get(name), kind) or not result[name]]
        if wrong or set(result) != set(FIELDS):
            raise ValueError(f"{path.name}: missing, empty or unknown fields: {wrong or sorted(set(result) - set(FIELDS))}.")
        if result["part"] not in PARTS:
            raise ValueError(f"{path.name}: part {result['part']!r} is none of {', '.join(PARTS)}.")
        for each in result["body"]:
            _check_block(each, path.name)
        found.append((named[2], result))
    newest_first = sorted(found, key=lambda each: each[1]["date"], reverse=True)
    return sorted(newest_first, key=lambda each: (PARTS.index(each[1]["part"]), each[0]))


def _check_block(each: Any, where: str) -> None:
    if isinstance(each, str) or set(each) == {"chart", "image", "alt", "data"}:
        return
    if set(each) != {"columns", "rows"}:
        raise ValueError(
            f"{where}: {sorted(each)} is neither a table's (columns, rows) nor a chart's (chart, image, alt, data)."
        )
    for row in each["rows"]:
        if len(row) != len(each["columns"]):
            raise ValueError(f"{where}: {row} has not as many cells as there are columns: {each['columns']}.")


def page(results: list[tuple[str, dict[str, Any]]]) -> str:
    """docs/explanation/figures.md: of each name the newest result, and the dates of those before."""
    parts = [HEAD]
    told: set[str] = set()
    headed: set[str] = set()
    for name, result in results:
        if name in told:
            continue
        told.add(name)
        if result["part"] not in headed:
            headed.add(result["part"])
            parts.append(f"## {result['part']}\n")
        earlier = [each["date"] for other, each in results if other == name][1:]
        parts.append(_section(result, earlier))
    return "\n".join(parts)


def charts(results: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The charts that the page shows."""
    newest = dict(reversed(results))
    return [each for result in newest.values() for each in result["body"] if isinstance(each, dict) and "chart" in each]


def _section(result: dict[str, Any], earlier: list[str]) -> str:
    before = f" Earlier results: {', '.join(earlier)}." if earlier else ""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [f"### {result['title']}\n", "```sh", *result["commands"], "```\n"]
    lines.append(f"*{result['date']}. {result['machine']}; {versions}. {result['noise']}{before}*\n")
    for each in result["body"]:
        if isinstance(each, str):
            lines.append(f"{each}\n")
        elif "chart" in each:
            lines.append(f"![{each['alt']}](../images/{each['image']})\n")
        else:
            rows = [each["columns"], ["---"] * len(each["columns"]), *each["rows"]]
            lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
            lines.append("")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def body_of(path: Path) -> list[Any]:
    """A result's body from a file: paragraphs and tables of markdown, or the chart of a benchmark's own JSON."""
    text = path.read_text("utf-8")
    if not text.lstrip().startswith("{"):
        return [_block(block) for block in re.split(r"\n\s*\n", text.strip())]
    from charts import chart_data  # matplotlib is an extra

    try:
        raw = [json.loads(text)]
    except ValueError:
        raw = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    kind, data = chart_data(raw)
    return [{"chart": kind, "image": f"{path.stem}.svg", "alt": path.stem, "data": data}]


def _block(text: str) -> Any:
    """A paragraph in one line, or a table."""
    if not text.startswith("|"):
        return " ".join(line.strip() for line in text.splitlines())
    head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    return {"columns": head, "rows": [[_value(cell) for cell in row] for row in rows]}


def _value(cell: str) -> Any:
    """A number where the cell is one and would be written the same way; its stress is dropped."""
    plain = cell.removeprefix("**").removesuffix("**")
    if "**" in plain or not NUMBER.fullmatch(plain):
        return cell if "**" in plain else plain
    value = float(plain.replace(",", "")) if "." in plain else int(plain.replace(",", ""))
    return value if f"{value:,}" == plain else plain


def add(options: argparse.Namespace) -> Path:
    """Keep a measurement as a result of today, or of the date that is told."""
    from foreword.bench import machine

    here = machine()
    processor = f"{here['processor']} ({here['kernels']}), {here['cores']} cores, {here['threads']} threads"
    versions = {"python": here["python"]}
    for name in ("torch", "transformers", *options.package):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here: its version cannot be told.") from None
    result = {
        "title": options.title,
        "part": options.part,
        "date": options.date or here["date"],
        "commands": options.command,
        "machine": options.machine or processor,
        "versions": versions,
        "noise": options.noise,
        "body": [each for path in options.files for each in body_of(path)],
    }
    path = RESULTS / f"{result['date']}-{options.name}.json"
    path.write_text(written(result), "utf-8")
    return path


def written(result: dict[str, Any]) -> str:
    """A result as JSON: a field, a paragraph, a row of a table is a line."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def block(each: Any) -> str:
        if not isinstance(each, dict) or "rows" not in each:
            return f"  {line(each)}"
        rows = ",\n".join(f"    {line(row)}" for row in each["rows"])
        return f'  {{"columns": {line(each["columns"])}, "rows": [\n{rows}\n  ]}}'

    fields = [f"{line(name)}: {line(value)}" for name, value in result.items() if name != "body"]
    body = ",\n".join(block(each) for each in result["body"])
    return "{\n" + ",\n".join(fields) + f',\n"body": [\n{body}\n]\n}}\n'


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    adding = parser.add_subparsers(dest="action").add_parser("add", help="keep a measurement as a result")
    adding.add_argument("name", help="what it is called in the folder: lower case, digits and hyphens")
    adding.add_argument("files", type=Path, nargs="+", help="markdown, or a benchmark's JSON")
    adding.add_argument("--title", required=True)
    adding.add_argument("--part", required=True, choices=PARTS)
    adding.add_argument("--noise", required=True, help="a sentence: other cores, runs, their range")
    adding.add_argument("--command", required=True, action="append", help="what was run; once a line")
    adding.add_argument("--package", default=[], action="append", help="of which the version matters too")
    adding.add_argument("--machine", help="in words, where the processor's name says too little")
    adding.add_argument("--date", help="of the measurement, if it is not of today")
    options = parser.parse_args()
    if options.action == "add":
        print(add(options))
    from charts import draw  # matplotlib is an extra

    results = load_results()
    PAGE.write_text(page(results), "utf-8")
    for chart in charts(results):
        draw(chart, IMAGES)
    print(PAGE.relative_to(ROOT), len(results), "results")


if __name__ == "__main__":
    main()

"""What the laws of the house are checked by: readers of Python files that find what a law forbids."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the repository's root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path, root: Path) -> "Source":
        """The file, parsed."""
        text = path.read_text(encoding="utf-8")
        return cls(path.relative_to(root).as_posix(), text, ast.parse(text))


def long_files(source: Source, most: int) -> Iterator[str]:
    """A file of more lines."""
    lines = source.text.count("\n")
    if lines > most:
        yield f"{source.path}: {lines} lines"


def long_functions(source: Source, most: int) -> Iterator[str]:
    """Functions of more lines, from ``def`` to the last; what is defined inside counts for what it stands in, too."""
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionNode):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > most:
                yield f"{source.path}:{node.lineno} {node.name}: {lines} lines"


def wide_interfaces(source: Source, most: int, contracts: frozenset[str]) -> Iterator[str]:
    """Protocols, and classes that are named as contracts, with more public methods."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and (node.name in contracts or _is_protocol(node)):
            methods = [each.name for each in node.body if isinstance(each, FunctionNode) and not each.name.startswith("_")]
            if len(methods) > most:
                yield f"{source.path}:{node.lineno} {node.name}: {len(methods)} methods ({', '.join(methods)})"


def undocumented(source: Source, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """The module, public classes and public functions without a docstring.

    A method needs none of its own if a base class documents it; ``classes`` has all classes by name.
    """
    if ast.get_docstring(source.tree) is None:
        yield f"{source.path}: the module"
    for node in _public(source.tree.body):
        if ast.get_docstring(node) is None:
            yield f"{source.path}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            for method in _public(node.body):
                if not _is_documented(node, method.name, classes) and not _is_overload(method):
                    yield f"{source.path}:{method.lineno} {node.name}.{method.name}"


def _public(body: list[ast.stmt]) -> Iterator[FunctionNode | ast.ClassDef]:
    for node in body:
        if isinstance(node, FunctionNode | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def _is_documented(kind: ast.ClassDef, method: str, classes: dict[str, ast.ClassDef]) -> bool:
    if any(each.name == method and ast.get_docstring(each) for each in _public(kind.body)):
        return True
    bases = [classes.get(ast.unparse(base).split("[")[0]) for base in kind.bases]
    return any(base is not None and _is_documented(base, method, classes) for base in bases)


def undocumented_fields(source: Source) -> Iterator[str]:
    """Fields of configs (classes named ...Config, ...Options or ...Params) that have no text below them."""
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.ClassDef) and node.name.endswith(("Config", "Options", "Params"))):
            continue
        if not any(isinstance(each, ast.Call) and "dataclass" in ast.unparse(each) for each in node.decorator_list):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and not (
                isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            ):
                yield f"{source.path}:{field.lineno} {node.name}.{ast.unparse(field.target)}"


def private_reads(source: Source) -> Iterator[str]:
    """Reads of ``thing._name`` where the thing is not the reader itself."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not _is_public_in_spite(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls"):
                yield f"{source.path}:{node.lineno} {owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("foreword"):
            for alias in node.names:
                if alias.name.startswith("_") and not _is_public_in_spite(alias.name):
                    yield f"{source.path}:{node.lineno} {node.module}.{alias.name}"


def patches_of_our_own(source: Source) -> Iterator[str]:
    """Calls of ``setattr`` that replace something of Foreword: anything but a name in a module of somebody else."""
    others = _imported_from_others(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _called(node) == "setattr" and node.args:
            owner = ast.unparse(node.args[0]).strip("'\"").split(".")[0].removeprefix("*((")
            if owner not in others:
                yield f"{source.path}:{node.lineno} {ast.unparse(node)}"


def isinstance_of_parts(source: Source, parts: frozenset[str]) -> Iterator[str]:
    """Questions what kind of part something is."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _called(node) == "isinstance" and len(node.args) == 2:
            kinds = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            if kinds & parts:
                yield f"{source.path}:{node.lineno} {ast.unparse(node)}"


def _is_public_in_spite(name: str) -> bool:
    """Names of Python itself, and the public methods of a named tuple."""
    return name.startswith("__") or name in ("_replace", "_asdict", "_fields", "_make")


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split("[")[0].split(".")[-1] == "Protocol" for base in node.bases)


def _is_overload(node: ast.AST) -> bool:
    return isinstance(node, FunctionNode) and any(ast.unparse(each).endswith("overload") for each in node.decorator_list)


def _imported_from_others(tree: ast.Module) -> set[str]:
    """Names that imports of other packages bind."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "foreword":
            names |= {alias.asname or alias.name for alias in node.names}
    return names - {"foreword"}

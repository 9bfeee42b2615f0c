"""What bodies have in common: strict types, no unknown fields; what cannot change an answer is taken and passed over.

A vendor's API has more fields than a model of one's own can honour. Each is decided once, in a table of its dialect
(``fields.py``), and becomes one of three:

    honoured    a field of the schema
    taken       cannot change the answer (a label, a hint, a wish about what is not there): passed over, and named in the log
    refused     would change it: an error with the way out, unless its value asks for nothing
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

UNKNOWN = 8
"""Of fields that nobody knows so many are looked at: each costs an error to be made, and the first one is told."""
NOTHING: tuple[Any, ...] = ("", [], {})
"""Beside null, what asks for nothing as the value of a field that is not honoured."""


@dataclass(frozen=True)
class Fields:
    """What becomes of an endpoint's fields that its schema does not have.

    taken
        By path, lists left out: ``tools.defer_loading``. Why it cannot change the answer.
    refused
        By name, of the body's own: the way out.
    nothing
        Of refused fields a value that asks for nothing, beside null and empty ones.
    companions
        Of fields that only say how another one is meant, by name: those, each with the value by which it changes nothing.
        Where all of them have it, or are not there, the companion is taken.
    kinds
        By path, of a list whose entries have a ``type``: those that are read. Others are passed over, as a tool that the
        model cannot use and need not; one without a type is read.
    skipped
        By path, of such a list: those that are passed over, as they say nothing to the model; all others are read.
    """

    taken: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    nothing: Mapping[str, Any] = field(default_factory=dict)
    companions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def tree(self) -> Mapping[str, Any]:
        """The paths of what is taken as names within names; an empty one is taken itself."""
        tree: dict[str, Any] = {}
        for path in self.taken:
            at = tree
            for name in path.split("."):
                at = at.setdefault(name, {})
        return tree


class Body(BaseModel):
    """Base of all bodies and their parts. Null says what leaving the field out says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    table: ClassVar[Fields] = Fields()

    @model_validator(mode="before")
    @classmethod
    def _without_what_asks_for_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = {each.alias or name: each for name, each in cls.__pydantic_fields__.items()}
        nothing = {
            name for name, value in given.items() if value is None or (not value and _asks_for_nothing(known, name, value))
        }
        for name, value in cls.table.nothing.items():
            if name in given and name not in known and _is_neutral(given[name], value):
                nothing.add(name)
        unknown = [name for name in given if name not in known and name not in nothing]
        left_out = nothing.union(unknown[UNKNOWN:])
        return {name: value for name, value in given.items() if name not in left_out} if left_out else given


class TopBody(Body):
    """Base of an endpoint's whole body. ``passed_over``: the paths of what was taken and not used."""

    _passed_over: frozenset[str] = PrivateAttr(frozenset())

    @property
    def passed_over(self) -> frozenset[str]:
        """Fields that the client sent and that change nothing, as ``tools.defer_loading``."""
        return self._passed_over

    @model_validator(mode="wrap")
    @classmethod
    def _pass_over(cls, given: Any, read: ModelWrapValidatorHandler["TopBody"]) -> "TopBody":
        if isinstance(given, cls):  # it was checked beside the event loop
            return given
        found: set[str] = set()
        given = _without(given, cls.table.tree, found)
        given = _without_companions(given, cls.table.companions, found)
        for path, known in cls.table.kinds.items():
            given = _chosen(given, path.split("."), known, True, found)
        for path, known in cls.table.skipped.items():
            given = _chosen(given, path.split("."), known, False, found)
        body = read(given)
        body.has_passed_over(found)
        return body

    def has_passed_over(self, found: Iterable[str]) -> None:
        """Remember what was taken and not used."""
        self._passed_over = frozenset(found)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        """The schema with the fields that are taken."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for path, why in cls.table.taken.items():
            if "." not in path:
                properties.setdefault(path, {"description": f"Taken, and not used: {why}."})
        return schema


def _asks_for_nothing(known: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether an empty value does: of a field that is not honoured, or of one that can only be null."""
    return (name not in known or known[name].annotation is NoneType) and value in NOTHING


def _is_neutral(given: Any, value: Any) -> bool:
    """Whether it is a value that changes nothing; a table, whether each of its values is."""
    return all(each == value for each in given.values()) if isinstance(given, dict) else bool(given == value)


def _without(given: Any, tree: Mapping[str, Any], found: set[str], path: str = "") -> Any:
    """A body without what is taken; the paths of that, as far as it says anything, go into ``found``."""
    if isinstance(given, list):
        parts = [_without(part, tree, found, path) for part in given]
        return parts if any(new is not old for new, old in zip(parts, given, strict=True)) else given
    if not isinstance(given, dict) or given.keys().isdisjoint(tree):
        return given
    kept = {}
    for name, value in given.items():
        inner = tree.get(name)
        if inner is None:
            kept[name] = value
        elif inner:
            kept[name] = _without(value, inner, found, f"{path}{name}.")
        elif value is not None and value not in NOTHING:
            found.add(path + name)
    return kept


def _without_companions(given: Any, companions: Mapping[str, Mapping[str, Any]], found: set[str]) -> Any:
    """A body without fields whose main ones change nothing; their names go into ``found``."""
    if not isinstance(given, dict) or given.keys().isdisjoint(companions):
        return given
    idle = {
        name
        for name, mains in companions.items()
        if name in given and all(given.get(main) in (None, neutral) for main, neutral in mains.items())
    }
    found |= {name for name in idle if given[name] is not None}
    return {name: value for name, value in given.items() if name not in idle} if idle else given


def _chosen(given: Any, path: Sequence[str], kinds: Collection[str], wanted: bool, found: set[str]) -> Any:
    """A body whose list at ``path`` has only entries of the ``kinds``, or those are not ``wanted``, of all others.

    The kinds of those that are left out go into ``found``.

    A mark on one that is passed over stands on the one before it, so that the prefix up to there is kept all the same.
    """
    if not isinstance(given, dict) or not isinstance(entries := given.get(path[0]), list):
        return given
    if len(path) > 1:
        return {**given, path[0]: [_chosen(entry, path[1:], kinds, wanted, found) for entry in entries]}
    kept: list[Any] = []
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or (kind in kinds) is wanted:
            kept.append(entry)
            continue
        found.add(f"{path[0]} of type {kind[:40]!r}")
        if kept and isinstance(kept[-1], dict) and entry.get("cache_control") is not None:
            kept[-1] = {"cache_control": entry["cache_control"], **kept[-1]}
    return given if len(kept) == len(entries) else {**given, path[0]: kept}

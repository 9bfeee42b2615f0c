"""What every rule is: it sees its fault in a case, and can make a request as it would be without the fault."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from foreword.audit.case import Case, Sighting
from foreword.audit.request import LoggedRequest

Fixer = Callable[[LoggedRequest], LoggedRequest]


class Rule(ABC):
    """One fault. The class docstring is its page in the manual: first what it is, then why it costs, an example, the fix.

    A rule learns while it examines the cases of a pass; its fixers use what was learned, and are made anew for each pass,
    because some of them remember the conversation. A fixer returns the very same object where nothing is to be mended.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    explains_break: ClassVar[bool] = True
    """Whether it says why two prompts part. The first such rule that sees its fault has explained the break."""
    needs_saving: ClassVar[bool] = True
    """Whether a finding is dropped when the replay shows no saving."""

    @abstractmethod
    def examine(self, case: Case) -> Sighting | None:
        """The fault in this case, or None; what the fixers need is learned here."""

    @abstractmethod
    def fixer(self) -> Fixer:
        """A function that mends requests, to be called with those of one pass in their order."""

    def forget(self, place: str) -> None:  # noqa: B027 (most rules on caching have nothing to unlearn)
        """Unlearn a place whose mending does not pay: from now on fixers leave it as it is."""

    def withdrawn(self) -> frozenset[str]:
        """Places whose sightings turned out to be wrong by the end of a pass; they are not claimed again."""
        return frozenset()

    @classmethod
    def page(cls) -> str:
        """The manual page, in Markdown."""
        return f"# {cls.code}: {cls.name}\n\n{inspect.getdoc(cls)}\n"

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the page: what the fault is."""
        return _paragraphs(cls)[0]

    @classmethod
    def advice(cls) -> str:
        """The last paragraph of the page: the fix."""
        return _paragraphs(cls)[-1]


def _paragraphs(rule: type[Rule]) -> list[str]:
    text = inspect.getdoc(rule) or ""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]

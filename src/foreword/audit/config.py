"""Options of an audit."""

from dataclasses import dataclass

from foreword.config import option, require, require_types


@dataclass(frozen=True)
class AuditConfig:
    """How a log is audited; every bound on memory is here."""

    select: tuple[str, ...] = ()
    """Rules that are applied (FW101), or groups of them (FW3); none means all."""

    ignore: tuple[str, ...] = ()
    """Rules, or groups of them, that are not applied."""

    min_tokens: int = 64
    """A finding that loses fewer tokens in the whole log is not told."""

    tree_tokens: int = 8_000_000
    """Tokens that a prefix tree remembers, 4 bytes each; a branch counts as a hundred more. There is one tree for the log as
    it is and one for each rule that found something, so up to 24 at once."""

    recent_bytes: int = option(64 * 2**20, name="recent-mb", unit=2**20)
    """Text of recent requests that is kept, to compare later ones with."""

    longest_line: int = 64 * 2**20
    """Bytes of a line of the log, or characters in UTF-16 and UTF-32. What is longer is cut, so it is no JSON, and reported
    like any broken line."""

    first_token_seconds: float = 1.0
    """Seconds until a prefix can be read, where the log does not say how long a request took."""

    redact: bool = option(True, both=True)
    """Whether examples are shown without what looks like a secret."""

    rounds: int = 4
    """Most passes in search of faults that stand behind other faults."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.min_tokens >= 1, f"min_tokens is {self.min_tokens}; it must be at least 1.")
        require(self.tree_tokens >= 1, f"tree_tokens is {self.tree_tokens}; it must be at least 1.")
        require(self.recent_bytes >= 1, f"recent_bytes is {self.recent_bytes}; it must be at least 1.")
        require(self.longest_line >= 1, f"longest_line is {self.longest_line}; it must be at least 1.")
        require(self.first_token_seconds >= 0, f"first_token_seconds is {self.first_token_seconds}; it must not be below 0.")
        require(self.rounds >= 1, f"rounds is {self.rounds}; it must be at least 1.")

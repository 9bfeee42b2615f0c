"""Options of the scheduler."""

from dataclasses import dataclass

from foreword.config import require, require_types


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Options of a Scheduler; an engine has them too."""

    max_num_seqs: int = 64
    """Requests that run at a time."""
    max_num_batched_tokens: int = 256
    """Tokens computed in one step; longer prompts are computed in chunks. More bring no speed on a CPU: they only make those
    that generate wait longer for their next token."""
    max_wait_seconds: float = 2.0
    """The age bound: how long a request may be overtaken by others with a longer cached prefix."""
    lookahead: int = 256
    """Waiting requests, in order of arrival, among which the order is chosen."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("max_num_seqs", "max_num_batched_tokens", "lookahead"):
            value = getattr(self, name)
            require(value >= 1, f"{name} is {value}; it must be at least 1.")
        require(self.max_wait_seconds >= 0, f"max_wait_seconds is {self.max_wait_seconds}; it cannot be negative.")
        require(
            self.max_num_batched_tokens >= self.max_num_seqs,
            f"max_num_batched_tokens ({self.max_num_batched_tokens}) is smaller than max_num_seqs "
            f"({self.max_num_seqs}): not every running request could get a token a step.",
        )

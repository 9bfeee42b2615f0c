"""What is noted when a request ends: counts, a line in the log, the prompt that a later request may be compared with."""

from collections.abc import Callable

from foreword.account import Account
from foreword.engine.stream import RequestEnd
from foreword.faults import fault_lines
from foreword.serving.config import ServerConfig
from foreword.serving.diagnosis import AnsweredRequest, diagnose
from foreword.serving.log import Log
from foreword.serving.metrics import Metrics
from foreword.serving.neutral import Diagnosis, NeutralRequest, TokenUsage
from foreword.serving.observation import Observation
from foreword.serving.remembered import Remembered
from foreword.serving.stream import OpenRequest


class Journal:
    """Notes the ends of requests, in the event loop. ``now`` is the engine's clock, ``model`` the served model's name."""

    def __init__(
        self,
        now: Callable[[], float],
        model: str,
        metrics: Metrics,
        log: Log,
        observation: Observation,
        config: ServerConfig,
    ):
        self._now = now
        self._model = model
        self._metrics = metrics
        self._log = log
        self._observation = observation
        self._answered: Remembered[AnsweredRequest] = Remembered(config.remembered_answers)
        self._log_prompts = config.log_prompts

    def begins(self, opened: OpenRequest) -> None:
        """A request is about to be given to the engine: its prompt is kept for explanations."""
        self._observation.asked(opened.request.request_id, opened.request.prompt)

    def ended(self, opened: OpenRequest, end: RequestEnd) -> None:
        """A request that the engine had taken has ended."""
        request, seconds = opened.request, self._now() - opened.arrival
        if end.account is not None:
            self._metrics.prompt(request.tenant, end.account, opened.uses_cache)
        first = None if end.metrics is None else end.metrics.first_token_time
        if first is not None:
            self._metrics.first_token(first - opened.arrival)
        self._metrics.ended(request.tenant, end.outcome, end.error is None, end.output_tokens, seconds)
        if end.error is None:
            self._remember(opened)
        self._write(opened, end, seconds)
        self._observation.digest()

    def reader_failed(self, error: Exception) -> None:
        """A fault of ours in the reading of an answer, of which the rest was told as text."""
        self._log.error("an answer could not be read", reason=fault_lines(error))

    def diagnose(self, opened: OpenRequest, usage: TokenUsage) -> Diagnosis | None:
        """Why a request could not reuse the prompt of the answer that it names; None where it names none."""
        request = opened.request
        if request.cache.compare_with is None:
            return None
        earlier = self._answered.get(_owner(request), request.cache.compare_with)
        return diagnose(request, opened.prompt.tokens, usage, earlier)

    def _remember(self, opened: OpenRequest) -> None:
        request, tokens = opened.request, opened.prompt.tokens
        size = 4 * len(tokens) + 1000  # tokens, text and objects: about 16 bytes a token
        self._answered.add(_owner(request), request.request_id, AnsweredRequest(request, tokens), size)

    def _write(self, opened: OpenRequest, end: RequestEnd, seconds: float) -> None:
        fields: dict[str, object] = {
            "request_id": opened.request.request_id,
            "model": self._model,
            "tenant": opened.request.tenant,
            "outcome": end.outcome,
            **({} if end.account is None else _in_words(end.account)),
            "output_tokens": end.output_tokens,
            "seconds": round(seconds, 4),
        }
        if self._log_prompts:
            fields["prompt"] = opened.prompt.text
        if end.error is not None and end.outcome != "abort":
            self._log.error("request", error=str(end.error), **fields)
        else:
            self._log.info("request", **fields)


def _owner(request: NeutralRequest) -> tuple[str, str | None]:
    """Who may compare with an answer: the same tenant, under the same salt."""
    return request.tenant, request.cache.salt


def _in_words(account: Account) -> dict[str, object]:
    reason = None if account.hit_end is None else account.hit_end.reason.value
    return {**account.in_tokens(), "miss_reason": reason}

"""Every error that Foreword raises on purpose, in one tree.

    ForewordError
    ├── InputError            the caller can mend it; also a ValueError
    │   ├── PromptError       an empty prompt, or one that can never fit
    │   │   └── PromptTooLong     more tokens than there may be; says how many
    │   ├── ParameterError    a sampling parameter or an argument of a call
    │   ├── ConfigError       an option of the engine or the cache
    │   ├── ModelError        a model that is missing, broken or not servable
    │   ├── CredentialsError  an API key that is missing or unknown
    │   ├── ForbiddenError    an API key that may not see what it asks for
    │   ├── NotFoundError     an answer or path that is not here
    │   │   └── UnknownModel      a model by a name that is not served
    │   ├── TraceError        a trace of requests that cannot be read
    │   └── TooLargeError     a request body above the server's limit
    └── ServiceError          we could not do it; also a RuntimeError
        ├── StepFailed        a forward pass failed; its requests ended with this error
        ├── GrammarFailed     the form of an answer could not be followed; its request ended with this error
        ├── Overloaded        too many requests at once; says when to come back
        │   └── ShareUsed         too many of one key alone
        ├── Unavailable       the engine has died, no replica is ready, or the server is shutting down
        ├── TimedOut          a request took longer than the server allows
        ├── StoreFailed       a store of KV could not be read or written
        └── IntegrityError    the cache's own books do not add up: a fault of Foreword

A message names what is wrong, the value, and the way out.
"""


class ForewordError(Exception):
    """Base of all errors raised by Foreword."""


class InputError(ForewordError, ValueError):
    """The caller passed something that cannot be honoured."""


class PromptError(InputError):
    """The prompt is empty, malformed, or longer than the model or the cache allows."""


class PromptTooLong(PromptError):
    """A prompt of more tokens than there may be. ``tokens``: how many, or as many at least; ``most``: how many fit."""

    def __init__(self, message: str, tokens: int, most: int):
        super().__init__(message)
        self.tokens = tokens
        self.most = most


class ParameterError(InputError):
    """A sampling parameter or call argument is out of range or unknown."""


class ConfigError(InputError):
    """An option is unknown, out of range, or contradicts another one."""


class ModelError(InputError):
    """The model is missing, damaged, or of a kind that cannot be served."""


class CredentialsError(InputError):
    """The API key is missing or unknown."""


class ForbiddenError(InputError):
    """The API key is known, but may not see what it asks for."""


class NotFoundError(InputError):
    """What the caller named is not here."""


class UnknownModel(NotFoundError):
    """A model was asked for by a name that is not served."""


class TraceError(InputError):
    """A trace of requests cannot be read: what is wrong, and in which line."""


class TooLargeError(InputError):
    """A request body is above the server's limit."""


class ServiceError(ForewordError, RuntimeError):
    """Foreword could not do what it accepted."""


class StepFailed(ServiceError):
    """A forward pass raised; the requests that took part in it end with this error."""


class GrammarFailed(ServiceError):
    """The form of an answer could not be followed any further; the request that asked for it ends with this error."""


class Overloaded(ServiceError):
    """Too many requests at once. ``retry_after``: seconds after which it makes sense to try again."""

    def __init__(self, message: str, retry_after: float = 1.0):
        super().__init__(message)
        self.retry_after = retry_after


class ShareUsed(Overloaded):
    """Too many requests of one API key at once; others are answered."""


class Unavailable(ServiceError):
    """The engine has died, no replica is ready, or the server is shutting down.

    ``retry_after``: seconds after which it makes sense to try again; None: it does not, here.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class TimedOut(ServiceError):
    """A request took longer than the server allows."""


class StoreFailed(ServiceError):
    """A store of KV could not be reached, read or written; the KV are computed instead."""


class IntegrityError(ServiceError):
    """An invariant of the cache does not hold."""

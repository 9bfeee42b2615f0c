"""Whose KV a store holds: the model's fingerprint as a digest, and in words."""

import hashlib
import json
from dataclasses import asdict, dataclass

from foreword.cache.namespace import ModelFingerprint

DOMAIN = b"foreword store identity 1\0"
LONG = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """What KV must have been computed with to be of use: all but tokens, tenant, salt and adapter (see names.py).

    digest
        32 bytes, equal only if every field of the fingerprint is.
    text
        The fingerprint as JSON, for whoever looks at a store; of long values their digest.
    """

    digest: bytes
    text: str

    @classmethod
    def of(cls, model: ModelFingerprint) -> "Identity":
        """That of a model's fingerprint."""
        text = json.dumps({name: _shortened(value) for name, value in asdict(model).items()}, sort_keys=True)
        return cls(hashlib.sha256(DOMAIN + model.key).digest(), text)

    def differences(self, other: str) -> list[str]:
        """In which fields another identity, given as its text, is another one; empty if that cannot be read."""
        try:
            theirs = json.loads(other)
            return sorted(name for name, value in json.loads(self.text).items() if theirs.get(name) != value)
        except (ValueError, AttributeError):
            return []


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > LONG:
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    return value

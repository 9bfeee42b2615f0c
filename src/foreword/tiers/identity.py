"""Whose KV a store holds: the model's fingerprint as a digest, and in words."""

import hashlib
import json
from dataclasses import asdict, dataclass

from foreword.cache.namespace import ModelFingerprint

DOMAIN = b"foreword store identity 1\0"
VERY_LONG, LONG = 3500, 200
"""Characters of a text, which has to fit in the header of a pack, and of one value in it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What KV must have been computed with to be of use: all but tokens, tenant, salt and adapter (see names.py).

    digest
        32 bytes, equal only if every field of the fingerprint is.
    text
        The fingerprint as JSON, for whoever looks at a store; where it would be very long, of long values their digest.
    """

    digest: bytes
    text: str

    @classmethod
    def of(cls, model: ModelFingerprint) -> "Identity":
        """That of a model's fingerprint."""
        text = json.dumps(asdict(model), sort_keys=True)
        if len(text) > VERY_LONG:
            text = json.dumps({name: _shortened(value) for name, value in asdict(model).items()}, sort_keys=True)
        return cls(hashlib.sha256(DOMAIN + model.key).digest(), text)

    def model(self) -> ModelFingerprint | None:
        """The fingerprint; None where the text does not have all of it."""
        try:
            found = ModelFingerprint(**json.loads(self.text))
            return found if Identity.of(found).digest == self.digest else None
        except (ValueError, TypeError, AttributeError):
            return None


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > LONG:
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    return value

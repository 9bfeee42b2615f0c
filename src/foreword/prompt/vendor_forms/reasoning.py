"""What a model thought, on its way through a client: as text, and in fields that clients send back without reading them.

Anthropic's thinking blocks have a ``signature``, reasoning items of the responses API an ``encrypted_content``. Ours hold a
thought's digest, or the thought; those of other servers say nothing to this one.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

OURS = "fw1."
"""With which what was written here begins."""


def write_signature(thought: str) -> str:
    """The signature of a thinking block: a digest of its text."""
    digest = hashlib.blake2b(thought.encode("utf-8", "replace"), digest_size=18).digest()
    return OURS + base64.urlsafe_b64encode(digest).decode()


def write_encrypted(thought: str) -> str:
    """A thought as the ``encrypted_content`` of a reasoning item. It is the client's own; nothing is hidden in it."""
    return OURS + base64.urlsafe_b64encode(thought.encode("utf-8", "replace")).decode()


def read_encrypted(content: Any) -> str | None:
    """The thought in an ``encrypted_content``; None in that of another server."""
    if not isinstance(content, str) or not content.startswith(OURS):
        return None
    try:
        return base64.b64decode(content[len(OURS) :], altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        return None


def read_thought(item: Mapping[str, Any]) -> str:
    """What a reasoning item of the responses API says: its text, or what is encrypted in it, or else its summary."""
    for key, kind in (("content", "reasoning_text"), ("summary", "summary_text")):
        parts = [part for part in item.get(key) or () if isinstance(part, Mapping)]
        text = "\n".join(str(part.get("text") or "") for part in parts if part.get("type") == kind)
        if text:
            return text
        if key == "content" and (hidden := read_encrypted(item.get("encrypted_content"))):
            return hidden
    return ""

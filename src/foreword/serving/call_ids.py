"""Ids of calls, as every family's chat template takes them: nine letters and digits. Mistral's refuse all others."""

import hashlib
import string

LETTERS = string.ascii_letters + string.digits
LENGTH = 9


def make_call_id(request_id: str, choice: int, number: int) -> str:
    """The id of the call of this number in a choice of a request; another one for every call."""
    digest = hashlib.blake2b(f"{request_id}/{choice}/{number}".encode("utf-8", "replace"), digest_size=16).digest()
    rest, letters = int.from_bytes(digest), ""
    for _ in range(LENGTH):
        rest, letter = divmod(rest, len(LETTERS))
        letters += LETTERS[letter]
    return letters

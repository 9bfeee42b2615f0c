"""Events as an engine would send them, from a real cache."""

from collections.abc import Sequence
from itertools import count

from foreword.cache import CacheConfig, ModelFingerprint, Namespace, PrefixCache, PrivatePart, pack_tokens
from foreword.events import RequestFinished
from foreword.observe import PromptShape
from foreword.replay import process
from foreword.testing.events import finished

SPACE = Namespace(ModelFingerprint("weights"))


def ids(text: str) -> list[int]:
    """A tokenizer of bytes."""
    return list(text.encode("utf-8", "surrogateescape"))


class Bytes:
    """Reads prompts of the tokenizer of bytes."""

    def decode(self, token_ids: list[int]) -> str:
        return bytes(token_ids).decode("utf-8", "replace")

    def shape(self, request_id: str) -> PromptShape | None:
        del request_id
        return None


class Requests:
    """Runs requests one after another through a cache and makes their events."""

    def __init__(self, num_blocks: int = 4096, block_size: int = 16):
        self.cache = PrefixCache(CacheConfig(num_blocks=num_blocks, block_size=block_size))
        self.computed = 0
        self._numbers = count(1)

    def run(
        self,
        prompt: str | Sequence[int],
        space: Namespace = SPACE,
        name: str = "",
        private: PrivatePart | None = None,
    ) -> RequestFinished:
        tokens = pack_tokens(ids(prompt) if isinstance(prompt, str) else list(prompt))
        number = next(self._numbers)
        ledger = process(self.cache, space, tokens, float(number), private=private)
        assert ledger is not None
        account = ledger.account()
        self.computed += account.computed
        return finished(tokens, account, space, float(number), name or f"request-{number}", private=private)

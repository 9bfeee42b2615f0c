"""A program of its own that compiles grammars on trial: what takes all time or memory, or breaks it, breaks nothing else.

Standard input: the model's special tokens (JSON: ``size`` of the vocabulary, ``special`` ids by name), then grammars, each
behind its length (8 bytes, little-endian). Standard output, for each grammar: what is wrong with it, nothing if all is well,
behind its length. The program ends with its input, or by force at a grammar that is too much.
"""

import json
import resource
import signal
import sys
import threading
from collections.abc import Iterator

import llguidance

SECONDS = 2.0
"""Of a processor, for one grammar."""
MEMORY = 3 * 2**28
"""Bytes of addresses, for all; an empty program has some 2**27."""
STACK = 2**20
"""Bytes: less than the threads have that compile in earnest."""


class Bytes:
    """All bytes and a model's special tokens: a vocabulary, as llguidance asks for one."""

    bos_token_id = None

    def __init__(self, size: int, special: dict[str, int]):
        self.tokens = [b""] * max(size, 257 + len(special))
        for name, token in special.items():
            self.tokens[token] = name.encode()
        free = [token for token, text in enumerate(self.tokens[: 600 + len(special)]) if not text]
        self._of = dict(enumerate(free[:256]))
        for byte, token in self._of.items():
            self.tokens[token] = bytes([byte])
        self.eos_token_id = next(iter(special.values()), free[256])
        self.special_token_ids = [*special.values(), self.eos_token_id]

    def __call__(self, text: str | bytes) -> list[int]:
        """The bytes of a text."""
        return [self._of[byte] for byte in (text.encode() if isinstance(text, str) else text)]


def fault(tokenizer: llguidance.LLTokenizer, grammar: str) -> str:
    """What is wrong with a grammar; empty if nothing is."""
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=llguidance.LLParserLimits(verbose_errors=False))
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error()


def _frames() -> Iterator[str]:
    while head := sys.stdin.buffer.read(8):
        yield sys.stdin.buffer.read(int.from_bytes(head, "little")).decode()


def _serve() -> None:
    frames = _frames()
    known = json.loads(next(frames))
    vocabulary = Bytes(known["size"], known["special"])
    wrapper = llguidance.TokenizerWrapper(vocabulary)
    tokenizer = llguidance.LLTokenizer(wrapper, eos_token=[vocabulary.eos_token_id], slices=[])
    for grammar in frames:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process, whatever it is at
        answer = fault(tokenizer, grammar).encode("utf-8", "replace")
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(len(answer).to_bytes(8, "little") + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK)
    thread = threading.Thread(target=_serve)
    thread.start()
    thread.join()

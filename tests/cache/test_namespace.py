"""Different identities never give one key, equal ones always do."""

import itertools
import subprocess
import sys
from typing import Any

from foreword.cache import ModelFingerprint, Namespace

WORDS = [None, "", "a", "a-", "+a", "-", "ab"]


def test_equal_text_in_different_slots_gives_different_keys() -> None:
    model = ModelFingerprint("w")
    keys = {Namespace(model, adapter, tenant, salt).key for adapter, tenant, salt in itertools.product(WORDS, repeat=3)}
    assert len(keys) == len(WORDS) ** 3


def test_equal_text_in_different_fields_of_the_model_gives_different_keys() -> None:
    words: list[Any] = ["", "a", "a+"]  # also as the block's size: no field can be taken for another
    keys = {ModelFingerprint(*texts).key for texts in itertools.product(words, repeat=8)}
    assert len(keys) == len(words) ** 8
    assert ModelFingerprint("w", block_size=16).key != ModelFingerprint("w", block_size=32).key


def test_text_that_is_no_unicode_has_a_key() -> None:
    assert Namespace(ModelFingerprint("w"), cache_salt="\ud800").key != Namespace(ModelFingerprint("w")).key


def test_a_key_is_the_same_in_every_process() -> None:
    program = "from foreword.cache import *; print(Namespace(ModelFingerprint('w'), 'a', None, 's').key.hex())"
    keys = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        keys.add(done.stdout)
    assert keys == {Namespace(ModelFingerprint("w"), "a", None, "s").key.hex() + "\n"}

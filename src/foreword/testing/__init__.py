"""Stand-ins for whoever tests Foreword: a runner without a model, KV that are hashes, tiny models, planted causes.

Names are loaded when first used; only those of tiny models need torch.
"""

from typing import TYPE_CHECKING

from foreword.lazy import lazy_exports

if TYPE_CHECKING:
    from foreword.testing.events import finished
    from foreword.testing.hash_kv import BlockObserver, HashKV, HashMachine, prefix_hashes
    from foreword.testing.tiny_models import FAMILIES, write_model, write_tokenizer

_HOMES = {
    "FAMILIES": "testing.tiny_models",
    "BlockObserver": "testing.hash_kv",
    "HashKV": "testing.hash_kv",
    "HashMachine": "testing.hash_kv",
    "finished": "testing.events",
    "prefix_hashes": "testing.hash_kv",
    "write_model": "testing.tiny_models",
    "write_tokenizer": "testing.tiny_models",
}
__all__ = [
    "FAMILIES",
    "BlockObserver",
    "HashKV",
    "HashMachine",
    "finished",
    "prefix_hashes",
    "write_model",
    "write_tokenizer",
]

__getattr__ = lazy_exports(__name__, _HOMES)

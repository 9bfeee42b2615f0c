"""Words of the schema that stand in a table elsewhere."""

from itertools import chain
from typing import get_args

from foreword.prompt.vendor_forms import ttl
from foreword.server.openai.schema import CacheFields, CacheOptions


def test_the_lifetimes_are_those_that_have_seconds() -> None:
    options, retention = CacheOptions.model_fields["ttl"], CacheFields.model_fields["prompt_cache_retention"]
    words = [tuple(chain.from_iterable(map(get_args, get_args(field.annotation)))) for field in (options, retention)]
    assert words == [tuple(ttl.OPENAI), tuple(ttl.OPENAI_RETENTION)]

"""Words of the schema that stand in a table elsewhere."""

from itertools import chain
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from foreword.prompt.vendor_forms import ttl
from foreword.server.openai.schema import CacheFields, CacheOptions, ChatBody


def test_the_lifetimes_are_those_that_have_seconds() -> None:
    options, retention = CacheOptions.model_fields["ttl"], CacheFields.model_fields["prompt_cache_retention"]
    words = [tuple(chain.from_iterable(map(get_args, get_args(field.annotation)))) for field in (options, retention)]
    assert words == [tuple(ttl.OPENAI), tuple(ttl.OPENAI_RETENTION)]


@pytest.mark.parametrize(
    ("field", "nothing", "something"),
    [
        ("function_call", "none", {"name": "f"}),
        ("include_reasoning", True, False),
        ("separate_reasoning", True, False),
        ("repeat_penalty", 1.0, 1.1),
        ("repeat_penalty", 1, 1.1),
        ("typical_p", 1.0, 0.5),
        ("mirostat", 0, 2),
        ("detokenize", True, False),
        ("return_token_ids", False, True),
        ("safe_prompt", False, True),
        ("deferred", False, True),
    ],
)
def test_what_other_servers_do_anyway_asks_for_nothing(field: str, nothing: Any, something: Any) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    ChatBody.model_validate({**asked, field: nothing})
    with pytest.raises(ValidationError, match=field):
        ChatBody.model_validate({**asked, field: something})

"""Ids of calls are such as every chat template takes, and no two are the same."""

import re

from foreword.serving.call_ids import make_call_id


def test_nine_letters_and_another_for_every_call() -> None:
    ids = [
        make_call_id(request, choice, number)
        for request in ("chatcmpl-1", "msg_1", "")
        for choice in range(4)
        for number in range(50)
    ]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call_id) for call_id in ids)
    assert len(set(ids)) == len(ids)
    assert make_call_id("msg_1", 0, 0) == make_call_id("msg_1", 0, 0)

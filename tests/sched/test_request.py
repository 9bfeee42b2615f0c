"""A request's tokens: packed once, and added to."""

from foreword.cache import ModelFingerprint, Namespace, pack_tokens
from foreword.sched import Request


def test_a_prompt_is_packed_once_and_answers_are_added_to_it() -> None:
    prompt = pack_tokens([1, 2, 3])
    request = Request("r", prompt, Namespace(ModelFingerprint("tiny")), 6, 0.0)
    assert request.packed() is prompt
    request.append(4)
    request.append(5)
    packed = request.packed()
    assert packed == pack_tokens([1, 2, 3, 4, 5])
    assert request.packed() is packed
    assert (request.num_prompt_tokens, request.num_tokens, request.tokens[:5].tolist()) == (3, 5, [1, 2, 3, 4, 5])

"""What an ingress sends a replica is all of a request: no field of one is left behind on the way."""

from dataclasses import fields

import msgspec

from foreword import SamplingParams
from foreword.cache import ConversationState
from foreword.cluster.messages import SentRequest
from foreword.engine import EngineRequest
from foreword.engine.grammars import Grammars
from foreword.engine.request import ChoiceProgress, Progress
from foreword.replay.simulated import NoWords
from foreword.tokens import pack_tokens

STAYS = {"text"}
"""The prompt's text, which only explanations need; they are made where it is."""


def sent(request: EngineRequest) -> SentRequest:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(SentRequest.of(request)), type=SentRequest)


def test_every_field_of_a_request_is_sent() -> None:
    assert {field.name for field in fields(EngineRequest)} - STAYS == set(SentRequest.__struct_fields__)


def test_a_request_is_the_same_on_the_other_side() -> None:
    request = EngineRequest(
        pack_tokens(range(9)),
        SamplingParams(max_tokens=4, seed=3, n=2),
        "asked",
        tenant="one",
        public_tokens=4,
        conversation=ConversationState.ENDED,
        shown_tokens=frozenset({1}),
        predicted=pack_tokens([7, 8]),
        resume=Progress((ChoiceProgress((5,), None), ChoiceProgress((), None)), 0),
    )
    assert sent(request).made_ready(Grammars(NoWords(), 1000, frozenset())) == request

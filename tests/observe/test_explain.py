"""Explanations, cause by cause; the many planted ones are in test_planted_causes.py."""

from dataclasses import replace

import pytest

from foreword.account import Account, HitEnd, MissReason
from foreword.cache import ModelFingerprint, Namespace, PrivatePart
from foreword.errors import NotFoundError
from foreword.observe import Explanation, Observer, ObserverConfig, Reason
from observe.events import Bytes, Requests


def explained(*prompts: str, observer: Observer | None = None) -> Explanation:
    """Why the last of some requests hit or missed."""
    observer, requests = observer or Observer(), Requests()
    for prompt in prompts:
        last = requests.run(prompt)
        observer(last)
    return observer.explain(last.request_id, Bytes())


def test_the_sources_and_the_texts_around_the_place() -> None:
    found = explained("Rules: be kind. Ask Ann.", "Rules: be kind. Ask Bob.")
    assert (found.reason, found.position) == (Reason.DIVERGED, len("Rules: be kind. Ask "))
    assert found.account.prompt_tokens == found.account.cached + found.account.computed == 24
    assert (found.shared_text, found.old_text, found.new_text) == ("Rules: be kind. Ask ", "Ann.", "Bob.")
    assert found.nearest is not None
    assert (found.nearest.request_id, found.nearest.shared_tokens, found.nearest.in_answer) == ("request-1", 20, False)


def test_the_value_that_moved_on_and_what_it_costs() -> None:
    rest = " You answer from the document, and you are brief." * 3
    found = explained(f"It is 12:30:05.{rest}", f"It is 12:31:05.{rest}")
    assert (found.reason, found.detail) == (Reason.VOLATILE_VALUE, "time")
    assert found.nearest is not None
    assert found.nearest.alike_after == len(rest) + len(":05.")


def test_a_conversation_that_goes_on_is_first_seen() -> None:
    found = explained("One.", "One. Two.")
    assert (found.reason, found.position, found.nearest) == (Reason.FIRST_SEEN, 4, None)


def test_without_a_reader_there_is_no_text() -> None:
    observer, requests = Observer(), Requests()
    for prompt in ("secret A.", "secret B."):
        observer(requests.run(prompt))
    found = observer.explain("request-2")
    assert (found.reason, found.position) == (Reason.DIVERGED, 7)
    assert (found.shared_text, found.old_text, found.new_text, found.place) == ("", "", "", "")


def test_an_eviction_says_when_and_for_whom() -> None:
    observer, requests = Observer(), Requests(num_blocks=8)
    lost = requests.run("a" * 100, name="lost")
    flood = requests.run("b" * 120, name="flood")
    again = requests.run("a" * 100, name="again")
    assert again.account.hit_end is not None
    assert again.account.hit_end.reason is MissReason.EVICTED
    for event in (lost, flood, again):
        observer(event)
    found = observer.explain("again", Bytes())
    assert found.reason is Reason.EVICTED
    assert found.eviction is not None
    assert (found.eviction.at, found.eviction.pressure) == (2.0, (("flood", 120),))
    assert found.eviction.lost_tokens + found.position <= 100


def test_a_prompt_below_the_minimum() -> None:
    observer = Observer(ObserverConfig(minimum_tokens=50))
    event = replace(Requests().run("short"), account=Account(5, hit_end=HitEnd(MissReason.DISABLED, 0)))
    observer(event)
    assert observer.explain(event.request_id).reason is Reason.BELOW_MINIMUM
    observer(replace(Requests().run("l" * 60), account=Account(60, hit_end=HitEnd(MissReason.DISABLED, 0))))
    assert observer.explain(event.request_id).reason is Reason.DISABLED


def test_a_request_that_was_never_admitted() -> None:
    observer = Observer()
    event = replace(Requests().run("x"), account=Account(1), admitted=None, outcome="abort")
    observer(event)
    assert observer.explain(event.request_id, Bytes()).reason is Reason.NOT_ADMITTED
    assert observer.curve([]).prompt_tokens == 0


def test_another_namespace_is_found_among_many() -> None:
    """It is told to operators; who asked is told its own reason, in either view."""
    observer, requests = Observer(), Requests()
    long = "The same long beginning of a prompt, of a tenant, or of another. "
    observer(requests.run(long))
    for number in range(20):
        observer(requests.run("else", Namespace(ModelFingerprint("weights"), tenant=f"t{number}")))
    last = requests.run(long, Namespace(ModelFingerprint("weights"), tenant="new"))
    observer(last)
    assert last.account.hit_end == HitEnd(MissReason.FIRST_SEEN, 0)
    found = observer.explain(last.request_id)
    assert (found.full_reason, found.elsewhere, found.reason) == (Reason.NAMESPACE_DIFFERS, "tenant", Reason.FIRST_SEEN)
    told = observer.explain_to_owner(last.request_id)
    assert (told.full_reason, told.elsewhere) == (Reason.FIRST_SEEN, "")


def test_nothing_private_of_another_owner_is_shown() -> None:
    observer, requests = Observer(), Requests()
    public = "What everyone begins with, in this house and in that one. "
    for owner, rest in (("a", "The secret of a, which is long."), ("b", "The secret of b.")):
        observer(requests.run(public + rest, name=owner, private=PrivatePart(len(public), owner)))
    found = observer.explain("b", Bytes())
    assert (found.reason, found.position) == (Reason.FIRST_SEEN, len(public))
    assert (found.old_text, found.nearest) == ("", None)
    observer(requests.run(public + "The secret of b, more.", name="again", private=PrivatePart(len(public), "b")))
    again = observer.explain("again", Bytes())
    assert again.nearest is not None
    assert (again.nearest.request_id, again.old_text) == ("b", ".")


def test_of_another_owners_prompt_the_public_part_is_shown() -> None:
    observer, requests = Observer(), Requests()
    heads = [f"Today is 2026-10-1{day}. What everyone begins with, in this house and in that one. " for day in range(2)]
    observer(requests.run(heads[0] + "The secret of a.", name="a", private=PrivatePart(len(heads[0]), "a")))
    observer(requests.run(heads[1] + "The secret of b.", name="b", private=PrivatePart(len(heads[1]), "b")))
    found = observer.explain("b", Bytes())
    assert found.reason is Reason.VOLATILE_VALUE
    assert found.nearest is not None
    assert found.nearest.request_id == "a"
    assert "secret" not in found.old_text


def test_an_unknown_request() -> None:
    with pytest.raises(NotFoundError, match="'nobody' is not known"):
        Observer().explain("nobody")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (bytes(range(256)) * 3, bytes(range(255)) + b"\x00" + bytes(range(256))),
        (b"\xff\xfe{[" * 51, b"\xff\xfe{[" * 49 + b"\xff\xfe}]]"),
        (b"[" * 501, b"[" * 499 + b"{["),
        ("\u202e\u0000<script>alert(1)</script>A.".encode(), "\u202e\u0000<script>alert(1)</script>B.".encode()),
    ],
)
def test_binary_rubbish_is_explained_like_anything_else(old: bytes, new: bytes) -> None:
    observer, requests = Observer(), Requests()
    for prompt in (old, new):
        observer(requests.run(list(prompt)))
    found = observer.explain("request-2", Bytes())
    assert found.reason is Reason.DIVERGED
    assert found.position == next(index for index, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)

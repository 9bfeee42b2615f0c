import pytest

from foreword.cache import ModelFingerprint, Namespace
from foreword.errors import NotFoundError
from foreword.observe.recent import RecentRequests
from observe.events import SPACE, Requests

OTHER = Namespace(ModelFingerprint("weights"), tenant="other")


def test_unknown_and_forgotten_requests_are_told_apart_and_it_says_how_long_they_are_kept() -> None:
    recent, requests = RecentRequests(2, 1000), Requests()
    for name in ("a", "b", "c"):
        recent.add(requests.run("hello", name=name))
    assert recent.get("c").request_id == "c"
    with pytest.raises(NotFoundError, match=r"'a' has been forgotten\. The last 2 finished requests are kept, up to 1,000"):
        recent.get("a")
    with pytest.raises(NotFoundError, match="'x' is not known"):
        recent.get("x")


def test_tokens_are_bounded_too_but_the_last_request_stays() -> None:
    recent, requests = RecentRequests(100, 50), Requests()
    for name in ("a", "b"):
        recent.add(requests.run("x" * 30, name=name))
    assert [request.request_id for request in recent.newest()] == ["b"]
    recent.add(requests.run("y" * 80, name="long"))
    assert [request.request_id for request in recent.newest()] == ["long"]
    assert recent.tokens == 80


def test_a_second_request_of_one_name_takes_the_place_of_the_first() -> None:
    recent, requests = RecentRequests(10, 1000), Requests()
    recent.add(requests.run("first", name="a"))
    second = requests.run("second", name="a")
    recent.add(second)
    assert len(recent) == 1
    assert recent.get("a") is second
    assert recent.tokens == 6


def test_nearest_are_those_that_share_most_and_were_there_before() -> None:
    recent, requests = RecentRequests(100, 10_000), Requests()
    for text in ("abcdef", "abcxyz", "abzzzz", "q"):
        recent.add(requests.run(text, name=text))
    asked = requests.run("abcdxx", name="asked")
    recent.add(asked)
    recent.add(requests.run("abcdxx", name="later"))
    recent.add(requests.run("abcdxx", OTHER, name="another tenant's"))
    found = [other.request_id for other in recent.nearest(asked, asked.tokens)]
    assert found[:3] == ["abcdef", "abcxyz", "abzzzz"]
    assert "later" not in found
    assert "another tenant's" not in found


def test_elsewhere_is_another_namespace() -> None:
    recent, requests = RecentRequests(100, 10_000), Requests()
    recent.add(requests.run("abcdef", OTHER, name="theirs"))
    asked = requests.run("abcdxx", name="asked")
    recent.add(asked)
    found = recent.elsewhere(asked)
    assert found is not None
    assert (found[0].request_id, found[1]) == ("theirs", 4)
    assert found[0].identity != asked.identity == (SPACE.model.weights, None, None, None)


def test_look_ups_find_what_came_before_and_after_others_went() -> None:
    """Requests are put in order at the first look-up after them, if they are still there."""
    recent, requests = RecentRequests(3, 10_000), Requests()
    for name in ("ab1", "ab2", "ab3", "ab4"):
        recent.add(requests.run(name, name=name))
    asked = recent.get("ab4")
    assert {other.request_id for other in recent.nearest(asked, asked.tokens)} == {"ab2", "ab3"}
    recent.add(requests.run("ab5", name="ab5"))
    recent.add(requests.run("ab6", OTHER, name="ab6"))
    asked = recent.get("ab5")
    assert [other.request_id for other in recent.nearest(asked, asked.tokens)] == ["ab4"]
    assert recent.elsewhere(recent.get("ab6")) == (recent.get("ab5"), 2)
    recent.add(requests.run("cd", OTHER, name="ab6"))
    assert recent.beginning_with(OTHER.key, requests.run("ab", OTHER).tokens) is None
    assert recent.beginning_with(OTHER.key, requests.run("cd", OTHER).tokens) is recent.get("ab6")


def test_a_request_that_begins_with_some_tokens() -> None:
    recent, requests = RecentRequests(100, 10_000), Requests()
    for text in ("abcdef", "abcxyz"):
        recent.add(requests.run(text, name=text))
    asked = recent.get("abcxyz")
    assert recent.beginning_with(asked.namespace, asked.tokens[:-4]) is asked
    assert recent.beginning_with(asked.namespace, asked.tokens + bytes(4)) is None
    assert recent.beginning_with(b"other", asked.tokens) is None
